package interop_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/export"
)

// inTable are the prefixes that are read of a table.
func inTable(t *testing.T, text string) []string {
	t.Helper()
	table, err := export.ReadTable(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range table.Unread {
		t.Errorf("line %d: %s: %s", u.Line, u.Reason, u.Text)
	}
	return distinct(table)
}

func distinct(table export.Table) []string {
	var all []string
	for _, r := range table.Routes {
		all = append(all, r.Prefix.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestTables: what the programs that are here print is read as what the kernel says in JSON.
func TestTables(t *testing.T) {
	newRack(t)
	nettest.Run(t, "ip", "-batch", file(t, golden(t, "linux.plain")))
	nettest.Run(t, "ip", "route", "add", "default", "via", "10.132.2.21")
	nettest.Run(t, "ip", "route", "add", "10.150.0.9", "via", "10.132.2.21")
	nettest.Run(t, "ip", "route", "add", "blackhole", "172.16.0.0/12")
	nettest.Run(t, "ip", "route", "add", "10.140.0.0/14", "nexthop", "via", "10.132.2.21", "nexthop", "via", "10.132.2.22")
	t.Cleanup(func() {
		nettest.Run(t, "ip", "-batch", file(t, golden(t, "linux.plain-removed")))
		for _, prefix := range []string{"default", "10.150.0.9", "172.16.0.0/12", "10.140.0.0/14"} {
			nettest.Run(t, "ip", "route", "del", prefix)
		}
	})
	var want4, want6 []string
	for _, r := range routes(t, "plain") {
		if r.NextHop.Is4() {
			want4 = append(want4, r.Prefix.String())
		} else {
			want6 = append(want6, r.Prefix.String())
		}
	}
	want4 = append(want4, "0.0.0.0/0", "10.150.0.9/32", "172.16.0.0/12", "10.140.0.0/14")
	connected4, connected6 := []string{"10.132.2.0/24", "10.132.3.0/24"}, []string{"fd00:132:2::/64", "fd00:132:3::/64", "fe80::/64"}
	sorted := func(lists ...[]string) []string {
		all := slices.Concat(lists...)
		slices.Sort(all)
		return all
	}
	compare := func(what string, got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n%v\nwant\n%v", what, got, want)
		}
	}
	compare("ip route", inTable(t, nettest.Run(t, "ip", "route")), sorted(want4, connected4))
	compare("ip -j route", inTable(t, nettest.Run(t, "ip", "-j", "route")), sorted(want4, connected4))
	compare("ip -6 route", inTable(t, nettest.Run(t, "ip", "-6", "route")), sorted(want6, connected6))
	for _, args := range [][]string{{"route", "show", "table", "all"}, {"-6", "-d", "route", "show", "table", "all"}} {
		if got := inTable(t, nettest.Run(t, "ip", args...)); len(got) < 6 {
			t.Errorf("ip %v: %v", args, got)
		}
	}

	t.Run("BIRD", func(t *testing.T) {
		bird := nettest.StartBIRD(t, nettest.Self, "router id 10.132.2.254;\nprotocol device {}\nprotocol direct { ipv4; ipv6; }\n"+
			"protocol kernel { learn; ipv4; }\nprotocol kernel { learn; ipv6; }\nprotocol static { ipv4; route 10.160.0.0/16 unreachable; }\n")
		// BIRD leaves link-local networks out.
		want := sorted(want4, connected4, want6, connected6[:2], []string{"10.160.0.0/16"})
		for _, command := range []string{"show route", "show route all"} {
			nettest.Eventually(t, 10*time.Second, func() error {
				text, err := bird.Birdc(command)
				if err != nil {
					return err
				}
				if got := inTable(t, text); !slices.Equal(got, want) {
					return fmt.Errorf("got\n%v\nwant\n%v\nof\n%s", got, want, text)
				}
				return nil
			})
		}
	})

	t.Run("FRR", func(t *testing.T) {
		frr := nettest.StartFRR(t, nettest.Self, false, "")
		for _, tt := range []struct {
			command string
			want    []string
		}{
			{"show ip route", sorted(want4, connected4)}, {"show ip route json", sorted(want4, connected4)},
			{"show ipv6 route", sorted(want6, connected6)}, {"show ipv6 route json", sorted(want6, connected6)},
		} {
			nettest.Eventually(t, 10*time.Second, func() error {
				text, err := frr.Vtysh(tt.command)
				if err != nil {
					return err
				}
				if got := inTable(t, text); !slices.Equal(got, tt.want) {
					return fmt.Errorf("%s: got\n%v\nwant\n%v\nof\n%s", tt.command, got, tt.want, text)
				}
				return nil
			})
		}
	})
}
