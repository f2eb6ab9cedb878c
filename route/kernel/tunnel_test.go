package kernel

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
	"github.com/waymark-bgp/waymark/route/tunnel"
)

// Tunnels and learned routes leave each other alone: neither sweeps what the other has made, the routes of egress addresses
// are no networks of the host, and tunnels that come and go are no reason to read a large table again.
func TestTunnelsAreApart(t *testing.T) {
	lab(t)
	table, tunnels := newTable(t), tunnel.New(t.TempDir()+"/tunnel.json", "/proc/sys/net")
	defer tunnels.Close()
	want := routes{"10.1.0.0/16": r1, "192.0.2.240/32": r1, "2001:db8:1::240/128": r1v6}
	apply(t, table, want.desired())
	before, err := table.Host()
	if err != nil {
		t.Fatal(err)
	}
	notified := watch(t, table)
	for calm := false; !calm; {
		select {
		case <-notified:
		case <-time.After(second):
			calm = true
		}
	}

	desired := route.Tunnels{
		Local: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Mask: 0x3ff00000, Shift: 20,
		Paths: []route.TunnelPath{{Mark: 1, VNI: 5, Gateway: netip.MustParseAddr(r2)}},
		Exits: []route.TunnelExit{
			{VNI: 6, Address: netip.MustParseAddr("192.0.2.240")},
			{VNI: 7, Address: netip.MustParseAddr("2001:db8:1::240")},
		},
	}
	if _, err := tunnels.Apply(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
	select {
	case <-notified:
		t.Error("Watch has told of tunnels")
	case <-time.After(2 * gatherBusy):
	}
	defer func() { // for the other tests, if this one fails
		if _, err := tunnels.Apply(t.Context(), route.Tunnels{}); err != nil {
			t.Error(err)
		}
	}()

	fresh := newTable(t)
	after, err := fresh.Host()
	if err != nil {
		t.Fatal(err)
	}
	after.Addresses = slices.DeleteFunc(after.Addresses, func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
	before.Addresses = slices.DeleteFunc(before.Addresses, func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the host before\n%+v\nand after\n%+v", before, after)
	}
	if result := apply(t, fresh, want.desired()); result.Changed+result.Added+result.Removed > 0 || len(result.Refused) > 0 {
		t.Errorf("learned routes beside tunnels: %+v", result)
	}
	if err := fresh.RemoveAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if result, err := tunnels.Apply(t.Context(), desired); err != nil || result.Changed {
		t.Errorf("tunnels after learned routes are gone: %+v, %v", result, err)
	}
	apply(t, fresh, want.desired())
	if _, err := tunnels.Apply(t.Context(), route.Tunnels{}); err != nil {
		t.Fatal(err)
	}
	expect(t, want)
	if out := nettest.Self.IP(t, "route show table all proto 180") + nettest.Self.IP(t, "-6 route show table all proto 180"); out != "" {
		t.Errorf("routes of tunnels are left:\n%s", out)
	}
}
