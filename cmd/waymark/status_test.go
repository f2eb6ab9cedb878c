package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/nat"
)

func TestStatusOfEgressAddresses(t *testing.T) {
	now := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	gateways := []agent.GatewayState{{Node: "n1", Health: agent.Alive}, {Node: "n2", Health: agent.Dead}, {Node: "n3", Health: agent.Presumed, Leaving: true}}
	busiest := nat.DestinationUse{Protocol: 6, Destination: netip.MustParseAddrPort("203.0.113.9:443"), Connections: 40}
	s := agent.Status{
		Node: "n1",
		Egress: []agent.EgressState{
			{Address: netip.MustParseAddr("198.51.100.7"), VNI: 77, Policies: []string{"bank"}, Gateways: gateways, Owns: true, Uses: true, Ports: 32768,
				Choice:       agent.Choice{Gateway: "n1", Since: now.Add(-time.Minute), Failovers: 2, Outage: time.Second},
				LastFailover: &agent.Failover{At: now.Add(-time.Minute), From: "n2", To: "n1", Outage: 553 * time.Millisecond}},
			{Address: netip.MustParseAddr("2001:db8:51::7"), VNI: 78, Gateways: gateways[:1], Ports: 31744, Choice: agent.Choice{Gateway: "n3", Since: now}},
			{VNI: 79, Uses: true},
		},
		Ports: []agent.PortUse{{PortUse: nat.PortUse{Address: netip.MustParseAddr("198.51.100.7"), Connections: 50, Busiest: []nat.DestinationUse{busiest}}, Ports: 32768}},
	}
	var out bytes.Buffer
	if err := printStatus(&out, now, s, nil, 1); err != nil {
		t.Fatal(err)
	}
	contains(t, out.String(), "EGRESS ADDRESS VNI OWNER SINCE HERE GATEWAYS FAILOVERS PORTS",
		"198.51.100.7 77 n1 1m0s owner, uses it n1 alive; n2 dead; n3 presumed alive, leaving 2, last 1m0s ago from n2 to n1, 550ms without 40 of 32768 to tcp 203.0.113.9:443",
		"2001:db8:51::7 78 n3 0s standby n1 alive 0 not counted yet",
		"the gateway's own 79 none - uses it none 0 -")
	text, err := json.Marshal(reportOf(s, nil))
	var view struct {
		Egress []struct {
			Address, Gateway, Part, Outage string
			LastFailover                   *struct{ From, Outage string }
		}
		Ports []struct {
			Connections int
			Busiest     []struct{ Destination string }
		}
	}
	if err == nil {
		err = json.Unmarshal(text, &view)
	}
	if err != nil || len(view.Egress) != 3 || len(view.Ports) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	if e := view.Egress[0]; e.Address != "198.51.100.7" || e.Gateway != "n1" || e.Part != "owner, uses it" || e.Outage != "1s" || e.LastFailover.Outage != "553ms" {
		t.Errorf("as JSON: %s", text)
	}
	if u := view.Ports[0]; u.Connections != 50 || u.Busiest[0].Destination != "203.0.113.9:443" {
		t.Errorf("as JSON: %s", text)
	}
}
