package export

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestRedistributionGoldens: each dialect's protocols, by prefixes, and by tag in a VRF.
func TestRedistributionGoldens(t *testing.T) {
	for name, r := range redistributors {
		t.Run(name, func(t *testing.T) {
			d, err := lookUp(name)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, protocol := range r.protocols {
				into := Redistribution{Protocol: protocol}
				switch {
				case protocol == "eigrp" || protocol == "bgp":
					into.Instance = "64513"
				case protocol == "isis" && r.isis == "!":
					into.Instance = "core"
				}
				for _, kind := range []string{"plain", "full"} {
					routes := plain(t)
					if kind == "full" {
						routes = full(t, d)
					}
					if kind == "full" && (protocol == "isis" || protocol == "eigrp") {
						if _, err := Redistribute(name, routes, into); err == nil || !strings.Contains(err.Error(), "of VRF prod into "+protocol+": only into ospf or bgp") {
							t.Errorf("%v", err)
						}
						for i := range routes {
							routes[i].VRF = ""
						}
					}
					text, err := Redistribute(name, routes, into)
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&b, "== %s %s\n%s", protocol, kind, text)
					slices.Reverse(routes)
					if again, err := Redistribute(name, append(routes, routes...), into); err != nil || again != text {
						t.Errorf("the same routes in another order, and twice, are another text: %v", err)
					}
				}
			}
			golden(t, "redistribute/"+name, b.String())
		})
	}
	if text, err := Redistribute("frr", nil, Redistribution{Protocol: "ospf"}); err != nil || text != "" {
		t.Errorf("no routes: %q %v", text, err)
	}
}

func TestTwoTags(t *testing.T) {
	routes := plain(t)
	routes[0].Tag = 7
	text, err := Redistribute("frr", routes, Redistribution{Protocol: "ospf"})
	if err != nil || strings.Contains(text, "tag") || !strings.Contains(text, routes[0].Prefix.String()) {
		t.Errorf("routes that have not all the same tag: %v\n%s", err, text)
	}
}

func TestNoRedistribution(t *testing.T) {
	routes := []Route{{Prefix: netip.MustParsePrefix("10.131.9.0/24"), NextHop: netip.MustParseAddr("10.132.2.21"), Name: "node-a"}}
	for _, tt := range []struct{ dialect, into, want string }{
		{"linux", "ospf", "linux has no routing protocols of its own"},
		{"csv", "bgp:1", "csv has no routing protocols"},
		{"cisco", "ospf", `there is no dialect "cisco"`},
		{"huawei-vrp", "eigrp:1", "huawei-vrp has no redistribution into eigrp with a filter; it has ospf, isis, bgp"},
		{"mikrotik", "isis", "it has ospf"},
		{"cisco-nxos", "isis", "cisco-nxos must be told which isis: isis:TAG"},
		{"juniper-junos", "ospf:1", "juniper-junos has no processes to name: ospf alone"},
		{"huawei-vrp", "isis:core", "a process is a number in 1..65535 there"},
		{"cisco-ios", "ospf:0", "a process is a number"},
		{"cisco-ios", "ospf:", "a process or tag has 1 to 20 letters"},
		{"cisco-nxos", "ospf:a b", "a process or tag has 1 to 20 letters"},
		{"cisco-nxos", "ospf:" + strings.Repeat("a", 21), "a process or tag has 1 to 20 letters"},
		{"cisco-ios", "eigrp", "want eigrp:AS with the number of an AS"},
		{"cisco-ios", "eigrp:65536", "want eigrp:AS with the number of an AS"},
		{"cisco-ios", "bgp:0", "want bgp:AS with the number of an AS"},
		{"cisco-ios", "rip", `no protocol "rip": want ospf[:PROCESS]`},
	} {
		into, err := ParseRedistribution(tt.into)
		if err == nil {
			_, err = Redistribute(tt.dialect, routes, into)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: got %v, want %s", tt.dialect, tt.into, err, tt.want)
		}
	}
	routes[0].Prefix = netip.MustParsePrefix("10.131.9.1/24")
	if _, err := Redistribute("frr", routes, Redistribution{Protocol: "ospf"}); err == nil || !strings.Contains(err.Error(), "host bits") {
		t.Errorf("a route that is none: %v", err)
	}
}
