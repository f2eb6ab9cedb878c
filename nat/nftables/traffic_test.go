package nftables_test

import (
	"context"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

// TestTrafficCounts wants packets between pods and the outside counted, and none between pods.
func TestTrafficCounts(t *testing.T) {
	l := nattest.NewLab(t)
	var traffic nftables.Traffic
	count := func() uint64 {
		t.Helper()
		n, err := traffic.Packets(context.Background(), plan().Pods)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	pings := func(ns nettest.NS, to string) {
		t.Helper()
		ns.Run(t, "ping", "-c", "3", "-i", "0.01", "-W", "5", to)
	}
	last := count()
	for _, c := range []struct {
		from nettest.NS
		to   string
		want uint64
	}{
		{l.Pod, nattest.Outside4, 6}, {l.Pod, nattest.Outside6, 6}, {l.Outside, nattest.Pod4, 6}, {l.Outside, nattest.Pod6, 6},
		{l.Pod, nattest.Neighbour4, 0}, {l.Machine, nattest.Outside4, 0},
	} {
		pings(c.from, c.to)
		now := count()
		if now-last != c.want {
			t.Errorf("3 pings from %s to %s: %d packets, want %d", c.from, c.to, now-last, c.want)
		}
		last = now
	}
	nettest.Run(t, "nft", "flush", "ruleset")
	if _, err := traffic.Packets(context.Background(), plan().Pods); err == nil {
		t.Error("the table is gone, but packets are counted")
	}
	if n := count(); n != 0 {
		t.Errorf("%d packets in a new table, want 0", n)
	}
	if err := traffic.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left := nettest.Run(t, "nft", "list", "ruleset"); strings.Contains(left, "traffic") {
		t.Errorf("stopped, but there is\n%s", left)
	}
}
