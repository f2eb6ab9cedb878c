package agent

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/nat"
)

func TestPortsThatRunOut(t *testing.T) {
	var log bytes.Buffer
	address, standby := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("198.51.100.8")
	busy, other := netip.MustParseAddrPort("203.0.113.9:443"), netip.MustParseAddrPort("203.0.113.10:443")
	w := &world{t: t, instance: "one"}
	a := &Agent{Log: slog.New(slog.NewTextHandler(&log, nil)), Paths: fakePaths{w}, Speaker: fakeSpeaker{w}, Source: w}
	a.status.Egress = []EgressState{
		{Address: address, VNI: 7, Policies: []string{"bank", "shop"}, Ports: 1000},
		{Address: standby, VNI: 8, Policies: []string{"bank"}, Ports: 2000},
		{Address: netip.MustParseAddr("198.51.100.9"), VNI: 9, Policies: []string{"bank"}}, // this node uses it and is no gateway
		{VNI: 10, Policies: []string{"rest"}, Ports: 1000},                                 // its own address
	}
	used := 0
	asked := 0
	counter := PortCounter{Agent: a, Usage: func(_ context.Context, addresses []netip.Addr) ([]nat.PortUse, error) {
		asked++
		if !slices.Equal(addresses, []netip.Addr{address, standby}) {
			t.Errorf("asked for %v", addresses)
		}
		return []nat.PortUse{
			{Address: address, Connections: 5000, Busiest: []nat.DestinationUse{{Protocol: 6, Destination: busy, Connections: used}, {Protocol: 17, Destination: other, Connections: 100}}},
			{Address: standby},
		}, nil
	}}
	for _, step := range []struct {
		used int
		near bool
		logs int // in all
	}{{799, false, 0}, {800, true, 1}, {900, true, 1}, {750, true, 1}, {699, false, 1}, {799, false, 1}, {1000, true, 2}} {
		used = step.used
		if err := counter.count(t.Context()); err != nil {
			t.Fatal(err)
		}
		var problems []string
		for _, p := range a.Status().Problems {
			problems = append(problems, p.String())
		}
		want := []string(nil)
		if step.near {
			why := ": PortsNearLimit: 198.51.100.7 has few of its 1000 ports left toward tcp 203.0.113.9:443: without one new connections fail; give the policy more addresses"
			want = []string{"EgressPolicy/bank" + why, "EgressPolicy/shop" + why}
		}
		if !slices.Equal(problems, want) {
			t.Errorf("%d ports in use: %q, want %q", used, problems, want)
		}
		if got := strings.Count(log.String(), "about to run out"); got != step.logs {
			t.Errorf("%d ports in use: %d lines in the log, want %d", used, got, step.logs)
		}
	}

	// Without BFD nobody knows who is alive.
	w.instance = ""
	if i := slices.IndexFunc(a.Status().Problems, func(p Problem) bool { return p.Reason == "NoBFD" }); i < 0 {
		t.Errorf("without waymark-bfd: %v", a.Status().Problems)
	}
	w.instance = "one"

	// No gateway any more: nothing is left over, and the kernel is not asked.
	a.status.Egress, asked = a.status.Egress[2:3], 0
	if err := counter.count(t.Context()); err != nil || asked > 0 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	if s := a.Status(); len(s.Ports)+len(s.Problems) > 0 {
		t.Errorf("left over: %+v %v", s.Ports, s.Problems)
	}
}
