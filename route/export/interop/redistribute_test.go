package interop_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/export"
)

// others are static routes of core1 that are none of ours. One covers them.
const others = `ip route 10.200.0.0/16 10.132.2.21
ip route 10.131.0.0/16 10.132.2.21 tag 7
ipv6 route fd00:200::/48 fd00:132:2::21
`

// Both sides speak all protocols, without the pauses by which they spare each other; N is the number of the side.
const protocols = `interface eth1
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
 ipv6 ospf6 area 0
 ipv6 ospf6 network point-to-point
 ipv6 ospf6 hello-interval 1
 ipv6 ospf6 dead-interval 4
 ip router isis core
 ipv6 router isis core
 isis network point-to-point
 isis hello-interval 1
exit
router ospf
 ospf router-id 10.255.0.N
 timers throttle lsa all 0
 timers throttle spf 0 50 50
 timers lsa min-arrival 0
 network 10.255.0.0/30 area 0
exit
router ospf6
 ospf6 router-id 10.255.0.N
 timers lsa min-arrival 0
 timers throttle spf 0 50 50
exit
router isis core
 net 49.0001.0000.0000.000N.00
 metric-style wide
 lsp-gen-interval 1
 spf-interval 1
exit
router bgp 6451N
 bgp router-id 10.255.0.N
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor core peer-group
 neighbor core remote-as external
 neighbor core timers connect 1
 neighbor 10.255.0.O peer-group core
 neighbor fd00:255::O peer-group core
 address-family ipv4 unicast
  neighbor 10.255.0.O activate
 exit-address-family
 address-family ipv6 unicast
  neighbor fd00:255::O activate
 exit-address-family
exit
`

func side(n, other string) string {
	return strings.NewReplacer("N", n, "O", other).Replace(protocols)
}

// redistributed is what core1 needs to pass routes on.
func redistributed(t *testing.T, dialect string, all []export.Route, protocols ...string) string {
	t.Helper()
	var b strings.Builder
	for _, protocol := range protocols {
		into, err := export.ParseRedistribution(protocol)
		if err != nil {
			t.Fatal(err)
		}
		text, err := export.Redistribute(dialect, all, into)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(text)
	}
	return b.String()
}

// newCores links core1, which is this namespace, with core2.
func newCores(t *testing.T) nettest.NS {
	t.Helper()
	newRack(t)
	core2 := nettest.New(t, "core2")
	nettest.Join(t, nettest.Self, "eth1", []string{"10.255.0.1/30", "fd00:255::1/64"}, core2, "eth1", []string{"10.255.0.2/30", "fd00:255::2/64"})
	return core2
}

// TestFRRPassesOn: a second FRR learns by each protocol exactly the exported routes, by prefix lists first, then by tag.
func TestFRRPassesOn(t *testing.T) {
	ns := newCores(t)
	daemons := []string{"staticd", "ospfd", "ospf6d", "isisd"}
	core1, core2 := nettest.StartFRR(t, nettest.Self, false, ""), nettest.StartFRR(t, ns, false, "")
	for _, daemon := range daemons {
		core1.Start(t, daemon)
		core2.Start(t, daemon)
	}
	core2.Configure(t, side("2", "1"))
	core1.Configure(t, others+side("1", "2"))

	all := routes(t, "plain")
	into := []string{"ospf", "isis:core", "bgp:64511"}
	learns := func(tag uint32) {
		t.Helper()
		var want4, want6 []string
		for _, r := range all {
			if r.NextHop.Is4() {
				want4 = append(want4, r.Prefix.String())
			} else {
				want6 = append(want6, r.Prefix.String())
			}
		}
		slices.Sort(want4)
		slices.Sort(want6)
		for _, tt := range []struct {
			command string
			want    []string
			tagged  bool
		}{
			{"show ip route ospf json", want4, true}, {"show ipv6 route ospf6 json", want6, true},
			{"show ip route isis json", want4, false}, {"show ipv6 route isis json", want6, false},
			{"show ip route bgp json", want4, false}, {"show ipv6 route bgp json", want6, false},
		} {
			nettest.Eventually(t, 60*time.Second, func() error {
				var table map[string][]struct{ Tag uint32 }
				if err := core2.JSON(tt.command, &table); err != nil {
					return err
				}
				var got []string
				for prefix, paths := range table {
					if strings.HasPrefix(prefix, "10.255.") || strings.HasPrefix(prefix, "fd00:255:") {
						continue // the link itself
					}
					got = append(got, prefix)
					if tt.tagged && paths[0].Tag != tag {
						return fmt.Errorf("%s: %s has tag %d, want %d", tt.command, prefix, paths[0].Tag, tag)
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, tt.want) {
					return fmt.Errorf("%s: core2 learns\n%v\nwant\n%v", tt.command, got, tt.want)
				}
				return nil
			})
		}
	}
	core1.Configure(t, golden(t, "frr.plain")+redistributed(t, "frr", all, into...))
	learns(0)

	for i := range all {
		all[i].Tag = 4200
	}
	text, err := export.Render("frr", all)
	if err != nil {
		t.Fatal(err)
	}
	core1.Configure(t, golden(t, "frr.plain-removed")+text+redistributed(t, "frr", all, into...))
	learns(4200)

	gone := []export.Static{{Route: all[0]}}
	if text, err = export.RemoveStatic("frr", gone, nil); err != nil {
		t.Fatal(err)
	}
	all = all[1:]
	core1.Configure(t, text)
	learns(4200)
}

// section is a part of a golden.
func section(t *testing.T, name, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(golden(t, name), "== "+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", name, heading)
	}
	part, _, _ := strings.Cut(after, "== ")
	return part
}

// TestFRRTakes: vtysh knows every line of the golden.
func TestFRRTakes(t *testing.T) {
	check := func(text string) (string, error) { return nettest.Self.Try("vtysh", "-C", "-f", file(t, text)) }
	var lines []string
	for line := range strings.Lines(golden(t, "redistribute/frr")) {
		if !strings.HasPrefix(line, "==") {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "")
	if out, err := check(text); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := check(strings.Replace(text, "redistribute static", "redistribute statics", 1)); err == nil {
		t.Errorf("taken: %s", out)
	}
}

// TestBIRDPassesOn: a second BIRD learns by OSPF and BGP exactly the exported routes.
func TestBIRDPassesOn(t *testing.T) {
	ns := newCores(t)
	const speak = `router id 10.255.0.N;
protocol device {}
protocol static others4 { ipv4; route 10.200.N.0/24 unreachable; }
protocol static others6 { ipv6; route fd00:200:N::/48 unreachable; }
protocol ospf v2 { ipv4 { EXPORT4 }; area 0 { interface "eth1" { type ptp; hello 1; dead 4; }; }; }
protocol ospf v3 { ipv6 { EXPORT6 }; area 0 { interface "eth1" { type ptp; hello 1; dead 4; }; }; }
protocol bgp { local 10.255.0.N as 6451N; neighbor 10.255.0.O as 6451O; connect delay time 1; ipv4 { import all; EXPORT4 }; }
protocol bgp { local fd00:255::N as 6451N; neighbor fd00:255::O as 6451O; connect delay time 1; ipv6 { import all; EXPORT6 }; }
`
	config := func(n, other, export4, export6 string) string {
		return strings.NewReplacer("EXPORT4", export4, "EXPORT6", export6, "N", n, "O", other).Replace(speak)
	}
	all := routes(t, "plain")
	filters := redistributed(t, "bird", all, "ospf") // the same for BGP
	nettest.Run(t, "bird", "-p", "-c", file(t, "router id 10.255.0.1;\nprotocol bfd {}\n"+golden(t, "bird.full")+
		section(t, "redistribute/bird", "ospf full")))
	nettest.StartBIRD(t, nettest.Self, golden(t, "bird.plain")+filters+config("1", "2", "export filter redistribute_waymark4;", "export filter redistribute_waymark6;"))
	core2 := nettest.StartBIRD(t, ns, config("2", "1", "export none;", "export none;"))
	var want []string
	for _, r := range all {
		want = append(want, r.Prefix.String())
	}
	slices.Sort(want)
	for _, filter := range []string{"RTS_OSPF_EXT2", "RTS_BGP"} {
		nettest.Eventually(t, 60*time.Second, func() error {
			text, err := core2.Birdc("show route where source = " + filter)
			if err != nil {
				return err
			}
			if got := inTable(t, text); !slices.Equal(got, want) {
				return fmt.Errorf("%s: core2 learns\n%v\nwant\n%v\nof\n%s", filter, got, want, text)
			}
			return nil
		})
	}
}
