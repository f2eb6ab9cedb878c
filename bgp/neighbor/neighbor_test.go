package neighbor

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the goldens anew")

func accept(prefix string, low, high int) Range {
	return Range{Prefix: netip.MustParsePrefix(prefix), Min: low, Max: high}
}

func nodes(address string, ases ...uint32) []Node {
	var list []Node
	at := netip.MustParseAddr(address)
	for i, asn := range ases {
		list = append(list, Node{Name: "node-" + string(rune('1'+i)), Address: at, ASN: asn})
		at = at.Next()
	}
	return list
}

func family4() Family {
	return Family{Version: 4, Limit: 10, Reason: "twice the 1 pod prefix of a node, 8 egress addresses",
		Accept: []Range{accept("10.131.0.0/16", 24, 24), accept("10.132.2.240/29", 32, 32)}}
}

func family6() Family {
	return Family{Version: 6, Limit: 10, Reason: "twice the 1 pod prefix of a node, and some room",
		Accept: []Range{accept("fd00:131::/48", 64, 64)}}
}

// single has one family, one AS, and one neighbour each.
func single() *Peering {
	return &Peering{
		Peer: "rr1", Router: netip.MustParseAddr("10.132.2.254"), ASN: 64512, Port: 179, Listens: true,
		Nodes: nodes("10.132.2.11", 64513, 64513), Families: []Family{family4()}, Hold: 90 * time.Second, Keepalive: 30 * time.Second,
		RestartTime: 120 * time.Second,
	}
}

// dual has both families, a key, BFD, and communities.
func dual() *Peering {
	p := single()
	p.Families = []Family{family4(), family6()}
	p.Password = `key "password" of Secret waymark-system/rr`
	p.BFD = BFD{Interval: 300 * time.Millisecond, Multiplier: 3}
	p.Communities, p.OwnAS = []string{"64512:100", "4200000000:1:100"}, true
	return p
}

// peerings are what the goldens are of.
var peerings = map[string]func() *Peering{
	"single": single,
	"dual":   dual,
	// An AS for each node, over routers, without graceful restart; nodes take no connections.
	"own-as": func() *Peering {
		p := single()
		p.Nodes = nodes("10.132.2.11", 64601, 64602, 4200000001)
		p.MultihopTTL, p.RestartTime, p.Listens = 2, 0, false
		p.BFD = BFD{Interval: 100 * time.Millisecond, Multiplier: 5, Multihop: true}
		return p
	},
	// Neighbours by range.
	"range": func() *Peering {
		p := dual()
		p.Ranges = []netip.Prefix{netip.MustParsePrefix("10.132.2.0/24"), netip.MustParsePrefix("10.132.3.0/24")}
		p.TTLSecurity = 1
		return p
	},
	// Neighbours by range, with an AS each; a session over IPv6, and the router sends what nodes take.
	"range-own-as": func() *Peering {
		p := dual()
		p.Router = netip.MustParseAddr("fd00:132:2::fe")
		p.Nodes = nodes("fd00:132:2::11", 64601, 64602, 64605)
		p.Ranges = []netip.Prefix{netip.MustParsePrefix("fd00:132:2::/64")}
		p.Families = []Family{family6()}
		p.Families[0].Send = []Range{accept("::/0", 0, 0), accept("fd00::/8", 32, 64)}
		return p
	},
	// iBGP to a route reflector.
	"ibgp": func() *Peering {
		p := dual()
		p.Nodes = nodes("10.132.2.11", 64512, 64512)
		p.Families = []Family{family4(), {Version: 6, Limit: 10, Reason: "no node has one"}}
		p.Families[0].Send = []Range{accept("10.0.0.0/8", 8, 28)}
		return p
	},
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
	for _, dialect := range Dialects() {
		for name, peering := range peerings {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				p := peering()
				text, err := Render(dialect, p)
				if dialect == "h3c-comware" && name == "range-own-as" {
					if err == nil || !strings.Contains(err.Error(), "a range has one AS there, and the nodes have several") {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				golden(t, dialect+"."+name, text)
				slices.Reverse(p.Nodes)
				if again, err := Render(dialect, p); err != nil || again != text {
					t.Errorf("the same nodes in another order are another text: %v", err)
				}
			})
		}
	}
	for _, dialect := range Dialects() {
		if !slices.Contains(v1alpha1.Dialects, dialect) {
			t.Errorf("%s is no dialect of gateways: both are to have one name", dialect)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		dialect string
		change  func(*Peering)
		want    string
	}{
		"dialect":       {"openbgpd", func(*Peering) {}, `there is no dialect "openbgpd"; there are frr, bird, `},
		"no nodes":      {"frr", func(p *Peering) { p.Nodes = nil }, "BGPPeer rr1 in frr: no node has it"},
		"link-local":    {"frr", func(p *Peering) { p.Router = netip.MustParseAddr("fe80::1%eth0") }, "is link-local"},
		"family":        {"bird", func(p *Peering) { p.Router = netip.MustParseAddr("fd00::1") }, "node node-1 has no address of the family of fd00::1"},
		"mixed":         {"bird", func(p *Peering) { p.Nodes[0].ASN = 64512 }, "iBGP and eBGP need a BGPPeer each"},
		"outside":       {"frr", func(p *Peering) { p.Ranges = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")} }, "10.132.2.11 of node node-1 is in none of the ranges"},
		"passive range": {"frr", func(p *Peering) { p.Waits = true; p.Ranges = []netip.Prefix{netip.MustParsePrefix("10.132.2.0/24")} }, "a router cannot connect to a range"},
		"deaf":          {"frr", func(p *Peering) { p.Waits, p.Listens = true, false }, "do not listen at port 179"},
		"many AS": {"cisco-ios", func(p *Peering) {
			p.Nodes = nodes("10.132.2.11", 1, 2, 3, 4, 5, 6, 7)
			p.Ranges = []netip.Prefix{netip.MustParsePrefix("10.132.2.0/24")}
		}, "a range takes 6 AS numbers there (alternate-as), and the nodes have 7"},
	} {
		t.Run(name, func(t *testing.T) {
			p := single()
			tt.change(p)
			if text, err := Render(tt.dialect, p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s\n%s", err, tt.want, text)
			}
		})
	}
}

// FuzzNames: whatever peers and nodes are called, the text has the same lines and words as with harmless names.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"a\nno router bgp 64512", `";`, "x; }", "节点", "# x", strings.Repeat("a.b-", 63), "<PASSWORD>", "$", "*/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return // no object has no name
		}
		for _, dialect := range Dialects() {
			render := func(name string) []string {
				p := dual()
				p.Peer, p.Nodes[0].Name = name, name
				text, err := Render(dialect, p)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Split(text, "\n")
			}
			got, want := render(name), render("harmless")
			if len(got) != len(want) {
				t.Fatalf("%s: %d lines, want %d:\n%s", dialect, len(got), len(want), strings.Join(got, "\n"))
			}
			for i := range got {
				if a, b := len(strings.Fields(got[i])), len(strings.Fields(want[i])); a != b && i > 0 {
					t.Fatalf("%s: %q has %d words, want %d", dialect, got[i], a, b)
				}
			}
		}
	})
}
