package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestLookInside: what an operator does first on a node that runs well.
func TestLookInside(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t, "attributes: {communities: ['64512:100']}")
	begin := time.Now()
	agent := l.Agent(t)
	l.Settled(t, begin)

	gobgp := func(args ...string) (string, error) {
		return l.Node.Try(program(t, "gobgp"), append([]string{"--target", "unix://" + l.RunDir + "/gobgp.sock"}, args...)...)
	}
	shows(t, gobgp, []string{"neighbor"}, routerAddr, "64512", "Establ")
	shows(t, gobgp, []string{"neighbor", routerAddr}, "BGP neighbor is "+routerAddr)
	shows(t, gobgp, []string{"global", "rib"}, podCIDR, "192.0.2.0/24")
	shows(t, gobgp, []string{"neighbor", routerAddr, "adj-out"}, podCIDR, "64512:100")
	shows(t, gobgp, []string{"neighbor", routerAddr, "adj-in"}, "192.0.2.0/24")
	for _, change := range [][]string{
		{"global", "rib", "add", "203.0.113.0/24"}, {"neighbor", routerAddr, "reset"}, {"neighbor", "del", routerAddr}, {"global", "del", "all"},
	} {
		if out, err := gobgp(change...); err == nil || !strings.Contains(out, "--gobgp-writable") {
			t.Errorf("gobgp %s: %v, want a refusal that names --gobgp-writable: %s", strings.Join(change, " "), err, out)
		}
	}
	shows(t, gobgp, []string{"neighbor"}, "Establ")

	waymark := func(args ...string) (string, error) {
		return l.Node.Try(program(t, "waymark"), append(args, "--run-dir", l.RunDir)...)
	}
	shows(t, waymark, []string{"status"}, "Node node, AS 64513", "router", "Established", podCIDR, "192.0.2.0/24", "datacenter-sees-pods")
	curl := func(path ...string) (string, error) { return l.get(t, "/"+path[0]), nil }
	shows(t, curl, []string{"healthz"}, "ok")
	shows(t, curl, []string{"readyz"}, "ok")
	shows(t, curl, []string{"metrics"}, `waymark_bgp_sessions{state="Established"} 1`, `waymark_bgp_prefixes_announced{peer="router"} 1`,
		`waymark_kernel_routes 1`, `waymark_source_errors_total 0`, `waymark_drift_repairs_total{what="nat"} 0`,
		`waymark_apply_duration_seconds_count{stage="announce"}`, `waymark_bgp_session_flaps_total{peer="router"} 0`)

	agent.Kill()
	if out, err := waymark("status"); err == nil || !strings.Contains(out, "is waymark-agent running") {
		t.Errorf("status without an agent: %v: %s", err, out)
	}
}

// TestMismatchInPlainWords: the router has another AS than configured. Status says so in words.
func TestMismatchInPlainWords(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, strings.Replace(routerBIRD(""), "as 64512", "as 64514", 1))
	l.Speak(t)
	l.Agent(t)
	nettest.Eventually(t, 20*time.Second, func() error {
		s, err := l.Status(t)
		if err == nil && (len(s.Peers) != 1 || s.Peers[0].LastError != "peer says AS 64514, configured 64512") {
			err = fmt.Errorf("peers in status: %+v", s.Peers)
		}
		return err
	})
	if out := l.get(t, "/readyz"); !strings.Contains(out, "no session is established") {
		t.Errorf("readyz: %s", out)
	}
}

// TestBFDWantedButNotThere: a peer asks for BFD, waymark-bfd does not run. The session works, status says what is missing;
// when waymark-bfd comes, it is used.
func TestBFDWantedButNotThere(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, routerBIRD("bfd on;"))
	l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)
	if out := l.Node.Run(t, program(t, "waymark"), "status", "--run-dir", l.RunDir); !strings.Contains(out, "waymark-bfd is not running") {
		t.Errorf("status does not tell that waymark-bfd is missing:\n%s", out)
	}
	l.BFD(t)
	l.BFDUp(t)
}

func shows(t *testing.T, run func(...string) (string, error), args []string, want ...string) {
	t.Helper()
	out, err := run(args...)
	if err != nil {
		t.Errorf("%s: %v", strings.Join(args, " "), err)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%s shows no %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
}

// get fetches a path from the agent's metrics address, from within the node.
func (l *Lab) get(t *testing.T, path string) string {
	t.Helper()
	return playWith(t, l.Node, "", roleGet, "http://127.0.0.1:9470"+path)
}
