package interop_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/export"
)

// read parses what a router says of itself, all of which must be read.
func read(t testing.TB, dialect, text string) []export.Static {
	t.Helper()
	found, unread, err := export.Parse(dialect, text)
	if err != nil || len(unread) > 0 {
		t.Fatalf("%v; unread %+v in\n%s", err, unread, text)
	}
	return found
}

// readsBack wants a router's text to say the routes of goldens, whose names it may have forgotten.
func readsBack(t testing.TB, dialect, text string, kept []export.Route) {
	t.Helper()
	want, err := export.AsRead(dialect, kept)
	if err != nil {
		t.Fatal(err)
	}
	var got []export.Route
	for _, s := range read(t, dialect, text) {
		got = append(got, s.Route)
	}
	for i := range want {
		want[i].Name = ""
	}
	slices.SortFunc(got, export.Route.Compare)
	slices.SortFunc(want, export.Route.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v\nof\n%s", got, want, text)
	}
}

// emptied undoes all that a router's text says, and wants it to say nothing then.
func emptied(t testing.TB, dialect string, show func() string, enter func(string), routes int) {
	t.Helper()
	found := read(t, dialect, show())
	if len(found) != routes {
		t.Errorf("%d routes, want %d: %+v in\n%s", len(found), routes, found, show())
	}
	undo, err := export.RemoveStatic(dialect, found, nil)
	if err != nil {
		t.Fatal(err)
	}
	enter(undo)
	if left := read(t, dialect, show()); len(left) > 0 {
		t.Errorf("after\n%s\nthere is still %+v", undo, left)
	}
}

func TestLinuxReadsBack(t *testing.T) {
	newRack(t)
	show := func() string {
		return nettest.Run(t, "ip", "-4", "route", "show", "table", "all") + nettest.Run(t, "ip", "-6", "route", "show", "table", "all")
	}
	enter := func(text string) { nettest.Run(t, "ip", "-batch", file(t, text)) }
	plain, full := routes(t, "plain"), routes(t, "full")
	for i := range full {
		full[i].VRF, full[i].Tag, full[i].BFD = "100", 0, false
	}
	enter(golden(t, "linux.plain") + golden(t, "linux.full"))
	readsBack(t, "linux", show(), slices.Concat(plain, full))
	emptied(t, "linux", show, enter, len(plain)+len(full))

	enter(`route add 10.131.1.0/24 proto static nexthop via 10.132.2.21 weight 3 nexthop via 10.132.2.22 dev eth0
route add fd00:131:1::/64 nexthop via fd00:132:2::21 nexthop via fd00:132:2::22
route add blackhole 10.131.2.0/24 metric 7
route add unreachable fd00:131:2::/64 proto static
route add prohibit 10.131.3.0/24 table 100
route add 10.131.4.0/24 dev eth0 scope link
route add 10.131.5.7 via 10.132.2.21 onlink dev eth0
route add default via 10.132.2.21 metric 50
route add 10.131.10.0/24 via inet6 fe80::9 dev eth0
route add ::/0 via fe80::9 dev eth0
route add fd00:131:6::/64 via fd00:132:2::21 metric 7
route add fd00:131:6::/64 via fd00:132:2::21
route add 10.131.9.0/24 via 10.132.2.21 proto bgp
`)
	// One with several next hops gives way to one with another metric.
	enter("route add 10.131.1.0/24 via 10.132.2.23 metric 9\n")
	several := slices.DeleteFunc(read(t, "linux", show()), func(s export.Static) bool { return s.Prefix.String() != "10.131.1.0/24" || s.Preference != 0 })
	undo, err := export.RemoveStatic("linux", several, []export.Route{{Prefix: several[0].Prefix, NextHop: netip.MustParseAddr("10.132.2.23"), Preference: 9}})
	if err != nil {
		t.Fatal(err)
	}
	enter(undo)
	emptied(t, "linux", show, enter, 13)
	if !strings.Contains(show(), "10.131.9.0/24 via 10.132.2.21 dev eth0 proto bgp") {
		t.Errorf("a daemon's route is gone:\n%s", show())
	}
}

func TestFRRReadsBack(t *testing.T) {
	newRack(t)
	vtysh := startFRR(t)
	show := func() string { return vtysh.show(t) }
	enter := func(text string) { vtysh.enter(t, text) }
	plain, full := routes(t, "plain"), routes(t, "full")
	for i := range full {
		full[i].BFD = false // came after FRR 8.4
	}
	enter(golden(t, "frr.plain") + strings.ReplaceAll(golden(t, "frr.full"), " bfd\n", "\n"))
	readsBack(t, "frr", show(), slices.Concat(plain, full))
	emptied(t, "frr", show, enter, len(plain)+len(full))

	enter(`ip route 10.131.1.0/24 10.132.2.21
ip route 10.131.1.0 255.255.255.0 10.132.2.22 eth0 tag 7 200
ip route 10.131.2.0/24 Null0
ip route 10.131.3.0/24 blackhole 250
ip route 10.131.4.0/24 reject
ip route 10.131.5.7/32 eth0
ip route 10.131.6.0/24 10.132.2.21 eth0 onlink
ip route 10.131.7.0/24 10.132.2.21 nexthop-vrf other
ip route 10.131.7.0/24 10.132.2.21 table 10
ip route 0.0.0.0/0 10.132.2.21
ipv6 route ::/0 fe80::9 eth0
ipv6 route fd00:131:2::/64 from fd00:9::/64 fd00:132:2::21
vrf prod
 ip route 10.131.8.0/24 10.132.2.21
 ipv6 route fd00:131:8::/64 blackhole
exit-vrf
`)
	emptied(t, "frr", show, enter, 12)
	if left := show(); strings.Count(left, "10.131.") != 1 || strings.Count(left, "fd00:131:") != 1 {
		t.Errorf("only what is in another table, and for other sources, stays:\n%s", left)
	}
}

// TestBIRDReadsTheSame: a configuration with all that is odd means the same to BIRD as to us.
func TestBIRDReadsTheSame(t *testing.T) {
	newRack(t)
	text, err := os.ReadFile(filepath.Join("..", "testdata", "running", "bird"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(string(text), "eth1", "eth0") + "protocol bfd {}\n"
	var want []string
	for _, s := range read(t, "bird", config) {
		link := s.NextHop.IsValid() && s.NextHop.Is4() && strings.HasPrefix(s.NextHop.String(), "10.132.2.")
		if link && s.VRF == "" && !s.BFD { // no BFD session is up
			want = append(want, fmt.Sprintf("%s %s metric 32", s.Prefix, s.NextHop))
		}
	}
	slices.Sort(want)
	if len(want) != 3 {
		t.Errorf("read %v", want)
	}
	bird := nettest.StartBIRD(t, nettest.Self, config)
	same(t, "main", want)
	bird.Configure(t, "router id 10.132.2.254;\nprotocol device {}\nprotocol kernel { ipv4; }\n")
	same(t, "main", nil)
}
