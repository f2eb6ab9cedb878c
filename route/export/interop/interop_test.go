// Package interop_test gives the goldens of package export to the programs that they are for.
package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/export"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// newRack puts this namespace in core1's place, with the nodes' networks on a link.
func newRack(t *testing.T) {
	t.Helper()
	rack := nettest.New(t, "rack")
	nettest.Join(t, nettest.Self, "eth0", []string{"10.132.2.254/24", "fd00:132:2::fe/64", "10.132.3.254/24", "fd00:132:3::fe/64"}, rack, "eth0", nil)
}

// kernel are the routes through nodes that a table of the kernel has, as "PREFIX NEXTHOP metric M".
func kernel(t testing.TB, table string) []string {
	t.Helper()
	var all []string
	for _, version := range []string{"-4", "-6"} {
		var routes []struct {
			Dst, Gateway string
			Metric       int
		}
		out := nettest.Run(t, "ip", "-j", version, "route", "show", "table", table)
		if err := json.Unmarshal([]byte(out), &routes); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, r := range routes {
			if r.Gateway != "" {
				all = append(all, fmt.Sprintf("%s %s metric %d", r.Dst, r.Gateway, r.Metric))
			}
		}
	}
	slices.Sort(all)
	return all
}

// wanted are routes in the form of kernel.
func wanted(routes []export.Route, metric4, metric6 int) []string {
	var all []string
	for _, r := range routes {
		metric := metric4
		if r.NextHop.Is6() {
			metric = metric6
		}
		all = append(all, fmt.Sprintf("%s %s metric %d", r.Prefix, r.NextHop, metric))
	}
	slices.Sort(all)
	return all
}

func same(t testing.TB, table string, want []string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		if got := kernel(t, table); !slices.Equal(got, want) {
			return fmt.Errorf("table %s has\n%s\nwant\n%s", table, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// golden is a text that a router is to take.
func golden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// routes are what goldens say, those of json being the ones that are read most easily.
func routes(t *testing.T, kind string) []export.Route {
	t.Helper()
	var all []export.Route
	if err := json.Unmarshal([]byte(golden(t, "json."+kind)), &all); err != nil || len(all) == 0 {
		t.Fatalf("%d routes: %v", len(all), err)
	}
	return all
}

func TestLinux(t *testing.T) {
	newRack(t)
	nettest.Run(t, "ip", "route", "add", "blackhole", "10.0.0.0/8", "table", "100") // the table is there then
	t.Cleanup(func() { nettest.Run(t, "ip", "route", "del", "blackhole", "10.0.0.0/8", "table", "100") })
	for _, tt := range []struct {
		kind, table      string
		metric4, metric6 int
	}{{"plain", "main", 0, 1024}, {"full", "100", 50, 50}} {
		for range 2 { // what is there already is no error
			nettest.Run(t, "ip", "-batch", file(t, golden(t, "linux."+tt.kind)))
		}
		same(t, tt.table, wanted(routes(t, tt.kind), tt.metric4, tt.metric6))
		nettest.Run(t, "ip", "-batch", file(t, golden(t, "linux."+tt.kind+"-removed")))
		same(t, tt.table, nil)
	}
}

// startFRR returns a way to say something to zebra and staticd.
func startFRR(t *testing.T) frrRouter {
	t.Helper()
	dir, err := os.MkdirTemp("", "frr-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "vtysh.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	nettest.Run(t, "chown", "-R", "frr:frr", dir)
	nettest.Run(t, "chmod", "755", dir)
	for _, daemon := range []string{"zebra", "staticd"} {
		nettest.Self.Start(t, "/usr/lib/frr/"+daemon, "--config_file", "/dev/null", "--pid_file", filepath.Join(dir, daemon+".pid"),
			"--socket", filepath.Join(dir, "zserv.api"), "--vty_socket", dir, "--vty_port", "0", "--log", "stdout")
		nettest.Eventually(t, 10*time.Second, func() error {
			_, err := os.Stat(filepath.Join(dir, daemon+".vty"))
			return err
		})
	}
	return func(t testing.TB, args ...string) string {
		t.Helper()
		return nettest.Run(t, "vtysh", append([]string{"--config_dir", dir, "--vty_socket", dir}, args...)...)
	}
}

func TestFRR(t *testing.T) {
	newRack(t)
	vtysh := startFRR(t)
	vtysh.enter(t, golden(t, "frr.plain"))
	same(t, "main", wanted(routes(t, "plain"), 20, 20))

	// FRR 8.4 is too old for BFD, and this kernel has no VRFs: what it takes is seen in what it keeps.
	vtysh.enter(t, strings.ReplaceAll(golden(t, "frr.full"), " bfd\n", "\n"))
	running := vtysh.show(t)
	for _, r := range routes(t, "full") {
		if line := fmt.Sprintf("%s %s tag 4200 50", r.Prefix, r.NextHop); !strings.Contains(running, line) {
			t.Errorf("no %q in\n%s", line, running)
		}
	}
	vtysh.enter(t, golden(t, "frr.plain-removed")+golden(t, "frr.full-removed"))
	same(t, "main", nil)
	if running := vtysh.show(t); strings.Contains(running, "10.131.") || strings.Contains(running, "fd00:131:") {
		t.Errorf("still there:\n%s", running)
	}
}

func TestBIRD(t *testing.T) {
	newRack(t)
	const (
		head   = "router id 10.132.2.254;\nprotocol device {}\nprotocol bfd {}\n"
		kernel = "protocol kernel { ipv4 { export all; }; }\nprotocol kernel { ipv6 { export all; }; }\n"
	)
	nettest.Run(t, "bird", "-p", "-c", file(t, head+golden(t, "bird.full")))
	bird := nettest.StartBIRD(t, nettest.Self, head+kernel+golden(t, "bird.plain"))
	same(t, "main", wanted(routes(t, "plain"), 32, 32))
	bird.Configure(t, head+kernel)
	same(t, "main", nil)

	// A program that takes everything proves nothing.
	if out, err := nettest.Self.Try("bird", "-p", "-c", file(t, head+strings.Replace(golden(t, "bird.plain"), " via ", " via via ", 1))); err == nil {
		t.Errorf("taken: %s", out)
	}
}
