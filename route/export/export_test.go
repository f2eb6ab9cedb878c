package export

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the goldens anew")

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// The cluster of all goldens: two racks, each with its gateway; core2 reaches node-c of the other rack too. A node that none
// reaches, one without an address of a family, and one whose name no dialect takes as it is.
var (
	gateways = []Gateway{
		{"core1", netip.MustParseAddr("10.132.2.254"), prefixes("10.132.2.0/24", "fd00:132:2::/64")},
		{"core2", netip.MustParseAddr("10.132.3.254"), prefixes("10.132.3.0/24", "fd00:132:3::/64", "10.132.2.23/32")},
	}
	nodes = []Node{
		{"node-b", addrs("10.132.2.22", "fd00:132:2::22"), prefixes("10.131.10.0/24", "fd00:131:0:a::/64")},
		{"node-a", addrs("10.132.2.21", "fd00:132:2::21"), prefixes("10.131.9.0/24", "fd00:131:0:9::/64")},
		{"node-c", addrs("192.168.1.1", "10.132.2.23"), prefixes("10.131.12.0/24", "10.131.13.0/24", "fd00:131:0:c::/64")},
		{"ip-10-132-3-31.rack 'b' \"3\".datacenter.example.com; reload? # \\", addrs("fd00:132:3::31", "10.132.3.31"), prefixes("10.131.101.0/24", "fd00:131:0:65::/64")},
		{"node-z", addrs("10.133.9.9"), prefixes("10.131.26.0/24")},
	}
)

// plain are core1's routes without options, full core2's with all that a dialect has.
func plain(t *testing.T) []Route {
	t.Helper()
	routes, _ := Assign(gateways[:1], nodes)
	return routes
}

func full(t *testing.T, d *dialect) []Route {
	t.Helper()
	routes, _ := Assign(gateways[1:], nodes)
	for i := range routes {
		r := &routes[i]
		r.VRF, r.Preference = "prod", 50
		if d.name == "openbsd" || d.name == "linux" {
			r.VRF = "100"
		}
		if d.tag {
			r.Tag = 4200
		}
		r.BFD = d.bfd
		if !d.bfd && d.track > 0 {
			r.Track = 7
		}
		if r.NextHop.Is6() {
			r.Source = netip.MustParseAddr("fd00:132:3::fe")
		}
	}
	return Aggregate(routes)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

func TestGoldens(t *testing.T) {
	for i := range dialects {
		d := &dialects[i]
		t.Run(d.name, func(t *testing.T) {
			for name, routes := range map[string][]Route{"plain": plain(t), "full": full(t, d)} {
				text, err := Render(d.name, routes)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, d.name+"."+name, text)
				slices.Reverse(routes)
				if again, err := Render(d.name, append(routes, routes...)); err != nil || again != text {
					t.Errorf("the same routes in another order, and twice, are another text: %v", err)
				}
				found, _, err := Parse(d.name, text)
				if err != nil {
					t.Fatal(err)
				}
				removed, err := RemoveStatic(d.name, found, nil)
				if d.undo == nil {
					if !errors.Is(err, ErrNoCommand) {
						t.Errorf("remove: %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				golden(t, d.name+"."+name+"-removed", removed)
			}
		})
	}
	if !slices.Equal(Dialects(), v1alpha1.Dialects) {
		t.Errorf("gateways may have the dialects %v, there are %v", v1alpha1.Dialects, Dialects())
	}
}

func TestDataIsReadBack(t *testing.T) {
	routes := full(t, &dialects[slices.Index(Dialects(), "json")])
	text, err := Render("json", routes)
	if err != nil {
		t.Fatal(err)
	}
	var read []Route
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		t.Fatal(err)
	}
	for i := range routes {
		routes[i].Source, routes[i].Name = netip.Addr{}, clean(routes[i].Name, anyName)
	}
	if !reflect.DeepEqual(read, routes) {
		t.Errorf("got %v, want %v", read, routes)
	}
	if text, err = Render("csv", routes); err != nil {
		t.Fatal(err)
	}
	if rows, err := csv.NewReader(strings.NewReader(text)).ReadAll(); err != nil || len(rows) != len(routes)+1 {
		t.Errorf("csv: %d lines, %v", len(rows), err)
	}
	if text, err := Render("json", nil); err != nil || text != "[]\n" {
		t.Errorf("no routes: %q %v", text, err)
	}
}

func TestAssign(t *testing.T) {
	routes, unreached := Assign(gateways, nodes)
	var got []string
	for _, r := range routes {
		got = append(got, fmt.Sprintf("%s %s %s %.7s", r.Gateway, r.Prefix, r.NextHop, r.Name))
	}
	want := []string{
		"core1 10.131.9.0/24 10.132.2.21 node-a", "core1 10.131.10.0/24 10.132.2.22 node-b", "core1 10.131.12.0/24 10.132.2.23 node-c",
		"core1 10.131.13.0/24 10.132.2.23 node-c", "core1 fd00:131:0:9::/64 fd00:132:2::21 node-a", "core1 fd00:131:0:a::/64 fd00:132:2::22 node-b",
		"core2 10.131.12.0/24 10.132.2.23 node-c", "core2 10.131.13.0/24 10.132.2.23 node-c",
		"core2 10.131.101.0/24 10.132.3.31 ip-10-1", "core2 fd00:131:0:65::/64 fd00:132:3::31 ip-10-1",
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "ip-10-1", "ip-10-1"[:7])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	wantUnreached := []Unreached{
		{"node-c", netip.MustParsePrefix("fd00:131:0:c::/64"), "the node has no IPv6 address"},
		{"node-z", netip.MustParsePrefix("10.131.26.0/24"), "no gateway has 10.133.9.9 in its nodeSubnets"},
	}
	if !slices.Equal(unreached, wantUnreached) {
		t.Errorf("got %v", unreached)
	}
	itself := gateways[0].Address
	routes, unreached = Assign(gateways[:1], []Node{{"node-a", []netip.Addr{itself}, []netip.Prefix{netip.MustParsePrefix("10.131.9.0/24")}}})
	if want := fmt.Sprintf("%s is the address of gateway %s", itself, gateways[0].Name); len(routes) > 0 || len(unreached) != 1 || unreached[0].Reason != want {
		t.Errorf("got %v and %v, want %s", routes, unreached, want)
	}
}

func TestRefusals(t *testing.T) {
	good := Route{Prefix: netip.MustParsePrefix("10.131.9.0/24"), NextHop: netip.MustParseAddr("10.132.2.21"), Name: "node-a"}
	for name, tt := range map[string]struct {
		dialect string
		change  func(*Route)
		want    string
	}{
		"dialect":      {"cisco", func(*Route) {}, `there is no dialect "cisco"; there are cisco-ios, `},
		"host bits":    {"frr", func(r *Route) { r.Prefix = netip.MustParsePrefix("10.131.9.1/24") }, "host bits"},
		"family":       {"frr", func(r *Route) { r.NextHop = netip.MustParseAddr("::1") }, "no address of the prefix's family"},
		"zone":         {"frr", func(r *Route) { r.NextHop = netip.MustParseAddr("fe80::1%eth0") }, "no address of the prefix's family"},
		"preference":   {"cisco-iosxr", func(r *Route) { r.Preference = 255 }, "preference 255 is not in 1..254"},
		"negative":     {"linux", func(r *Route) { r.Preference = -1 }, "preference -1 is not in 1..4294967295"},
		"tag":          {"vyos", func(r *Route) { r.Tag = 1 }, "route to 10.131.9.0/24 through 10.132.2.21 in vyos: a static route has no tag there"},
		"bfd":          {"cisco-nxos", func(r *Route) { r.BFD = true }, "only for an interface"},
		"bfd's source": {"h3c-comware", func(r *Route) { r.BFD = true }, "must be told an address of the router"},
		"track":        {"arista-eos", func(r *Route) { r.Track = 1 }, "cannot depend on a track object"},
		"track number": {"cisco-nxos", func(r *Route) { r.Track = 513 }, "track 513 is not in 1..512"},
		"both":         {"json", func(r *Route) { r.BFD, r.Track = true, 1 }, "not on both"},
		"vrf":          {"cisco-ios", func(r *Route) { r.VRF = "a b" }, `VRF "a b": at most 31 letters`},
		"vrf's length": {"cisco-ios", func(r *Route) { r.VRF = strings.Repeat("a", 32) }, "at most 31 letters"},
		"main table":   {"frr", func(r *Route) { r.VRF = "default" }, "VRF default: that is the main table there"},
		"by number":    {"linux", func(r *Route) { r.VRF = "254" }, "VRF 254: that is the main table there"},
		"a device":     {"linux", func(r *Route) { r.VRF = "production-west1" }, "at most 15 characters"},
		"no table":     {"linux", func(r *Route) { r.VRF = "4294967296" }, "the number of a routing table"},
		"rtable":       {"openbsd", func(r *Route) { r.VRF = "256" }, "a number in 0..255"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			tt.change(&r)
			if text, err := Render(tt.dialect, []Route{r}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s\n%s", err, tt.want, text)
			}
		})
	}
	twice := good
	twice.NextHop = twice.NextHop.Next()
	if _, err := Render("frr", []Route{good, twice}); err == nil || !strings.Contains(err.Error(), "10.131.9.0/24 would be behind 10.132.2.21 and 10.132.2.22") {
		t.Errorf("a subnet on two nodes: %v", err)
	}
}

// FuzzName: whatever a node is called, the text has the same lines and words as with a harmless name.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"", "node", "a\nno ip route 0.0.0.0", "a\r\n!", `";quit`, "'", "?", "\x00", "-label x", "节点", "a # b", strings.Repeat("x", 999), "\\", "$(reboot)", "`", "!"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for i := range dialects {
			d := &dialects[i]
			named := func(name string) string {
				routes := full(t, d)
				for i := range routes {
					routes[i].Name = name
				}
				text, err := Render(d.name, routes)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			label := clean(name, d.names)
			if len(label) > d.names || strings.ContainsFunc(label, func(c rune) bool {
				return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", c)
			}) {
				t.Fatalf("%s: %q", d.name, label)
			}
			if label == "" {
				continue // there is no word then
			}
			want := strings.ReplaceAll(named("XXXX"), "XXXX", label)
			if got := named(name); got != want {
				t.Fatalf("%s with name %q:\n%s\nwant\n%s", d.name, name, got, want)
			}
		}
	})
}
