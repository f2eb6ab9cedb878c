package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/nat"
)

// gateway is the status of a node that owns one egress address, stands by for another one, and uses a third.
func gateway() agent.Status {
	states := []agent.GatewayState{
		{Node: "n1", Address: netip.MustParseAddr("192.0.2.1"), Health: agent.Alive},
		{Node: "n2", Address: netip.MustParseAddr("192.0.2.2"), Health: agent.Dead},
	}
	at := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	failover := &agent.Failover{At: at, From: "n2", To: "n1", Outage: 550 * time.Millisecond}
	use := func(n int) (all []nat.DestinationUse) {
		for i := range n {
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 443)
			all = append(all, nat.DestinationUse{Protocol: 6, Destination: to, Connections: 100 - i})
		}
		return all
	}
	return agent.Status{
		Node: "n1",
		Egress: []agent.EgressState{
			{Address: netip.MustParseAddr("198.51.100.7"), VNI: 77, Policies: []string{"bank"}, Gateways: states, Owns: true, Ports: 32768, LastFailover: failover,
				Choice: agent.Choice{Gateway: "n1", Term: 3, Failovers: 2, Outage: 1100 * time.Millisecond}},
			{Address: netip.MustParseAddr("198.51.100.8"), VNI: 78, Policies: []string{"bank"}, Gateways: states, Ports: 31744, Uses: true},
			{VNI: 79, Policies: []string{"rest"}, Gateways: states[1:], Uses: true, Choice: agent.Choice{Gateway: "n2"}},
		},
		Ports: []agent.PortUse{{
			PortUse: nat.PortUse{Address: netip.MustParseAddr("198.51.100.7"), Connections: 1234, Busiest: use(9)}, Policies: []string{"bank"}, Ports: 32768,
		}},
	}
}

func TestMetricsOfEgressAddresses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, (&Server{Status: gateway}).ServeMetrics, listener)
	response, err := http.Get("http://" + listener.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "waymark_egress") {
			got = append(got, strings.TrimSpace(strings.TrimPrefix(line, "waymark_egress_")))
		}
	}
	want := strings.Split(strings.TrimSpace(`
connections{address="198.51.100.7"} 1234
destination_ports_used{address="198.51.100.7",destination="203.0.113.0:443",protocol="tcp"} 100
destination_ports_used{address="198.51.100.7",destination="203.0.113.1:443",protocol="tcp"} 99
destination_ports_used{address="198.51.100.7",destination="203.0.113.2:443",protocol="tcp"} 98
destination_ports_used{address="198.51.100.7",destination="203.0.113.3:443",protocol="tcp"} 97
destination_ports_used{address="198.51.100.7",destination="203.0.113.4:443",protocol="tcp"} 96
failovers_total{address="198.51.100.7",vni="77"} 2
failovers_total{address="198.51.100.8",vni="78"} 0
failovers_total{address="own",vni="79"} 0
gateway_alive{gateway="n1"} 1
gateway_alive{gateway="n2"} 0
outage_seconds_total{address="198.51.100.7",vni="77"} 1.1
outage_seconds_total{address="198.51.100.8",vni="78"} 0
outage_seconds_total{address="own",vni="79"} 0
owner{address="198.51.100.7",gateway="n1",vni="77"} 1
owner{address="198.51.100.8",gateway="",vni="78"} 1
owner{address="own",gateway="n2",vni="79"} 1
owns{address="198.51.100.7",vni="77"} 1
owns{address="198.51.100.8",vni="78"} 0
ports{address="198.51.100.7"} 32768
ports_used{address="198.51.100.7"} 100
uses{address="198.51.100.7",vni="77"} 0
uses{address="198.51.100.8",vni="78"} 1
uses{address="own",vni="79"} 1
`), "\n")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What the agent says arrives whole.
func TestStatusOfEgressAddresses(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, (&Server{Status: gateway}).ServeStatus, listener)
	got, err := Client{RunDir: dir}.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := gateway(); !reflect.DeepEqual(got.Egress, want.Egress) || !reflect.DeepEqual(got.Ports, want.Ports) {
		text, _ := json.Marshal(got)
		t.Errorf("got %s", text)
	}
}

func serveUntilEnd(t *testing.T, serve func(context.Context, net.Listener) error, listener net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
