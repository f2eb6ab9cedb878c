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

	shows(t, waymark, []string{"status"}, "Learned: 1, in the kernel: 1")
	version := strings.TrimPrefix(strings.TrimSpace(l.Node.Run(t, program(t, "waymark-agent"), "--version")), "waymark-agent ")
	shows(t, waymark, []string{"status"}, "version "+version+",")
	shows(t, waymark, []string{"status", "-o", "json"}, `"version": "`+version+`"`, `"holdTime": "9s"`, `"learned": [`, `"repairs": {}`)
	shows(t, curl, []string{"metrics"}, `version="`+version+`"`)

	agent.Kill()
	out, err := waymark("status")
	if err == nil || !strings.Contains(out, "start waymark-agent") || !strings.Contains(out, l.RunDir) || strings.Contains(out, "http:") {
		t.Errorf("status without an agent: %v: %s", err, out)
	}
}

// TestRefusedStartTouchesNothing: an agent that cannot serve its metrics says what to change and ends, before it has spoken
// to the router or changed the kernel. So does one with a flag that cannot be right.
func TestRefusedStartTouchesNothing(t *testing.T) {
	l := NewLab(t)
	bird := nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t)
	l.Agent(t, "--source", "dir:"+t.TempDir(), "--run-dir", t.TempDir()) // has the port, and nothing to do
	nettest.Eventually(t, 5*time.Second, func() error {
		_, err := l.Node.Try("bash", "-c", "</dev/tcp/127.0.0.1/9470")
		return err
	})
	for want, args := range map[string][]string{
		"another program has 127.0.0.1:9470: stop it, or choose another --metrics-address": nil,
		"run directory: mkdir /dev/null: not a directory":                                  {"--run-dir", "/dev/null/run"},
		`--node "Node_1": no Node can have this name`:                                      {"--node", "Node_1"},
		`--run-dir "/run/a,b": GoBGP would take the comma`:                                 {"--run-dir", "/run/a,b"},
		`--source "/etc": want dir:PATH`:                                                   {"--source", "/etc"},
		`--log-format "xml": want text or json`:                                            {"--log-format", "xml"},
		`--metrics-address "9470"`:                                                         {"--metrics-address", "9470"},
		`unexpected argument "please"`:                                                     {"please"},
	} {
		p := l.Agent(t, args...)
		select {
		case <-p.Done():
		case <-time.After(5 * time.Second):
			t.Fatalf("%v: the agent goes on running: %s", args, p.Output())
		}
		if out := strings.TrimSpace(p.Output()); p.Stop() == nil || !strings.HasPrefix(out, "waymark-agent: "+want) || strings.Contains(out, "\n") {
			t.Errorf("%v: want one line of %q: %s", args, want, out)
		}
	}
	if out, err := l.Node.Try("nft", "list", "table", "inet", "waymark"); err == nil {
		t.Errorf("source addresses were changed: %s", out)
	}
	if err := routeAt(l.Node, "192.0.2.0/24", false); err != nil {
		t.Error(err)
	}
	out, err := bird.Birdc("show protocols all node")
	if err != nil || strings.Contains(out, "Neighbor ID") {
		t.Errorf("the router has had a session: %v: %s", err, out)
	}
}

// TestFirstMistakes: a directory that is not there, then manifests of other nodes only. Status and readiness name them.
func TestFirstMistakes(t *testing.T) {
	l := NewLab(t)
	missing := l.Manifests + "/waymark"
	l.Agent(t, "--source", "dir:"+missing)
	says := func(want ...string) {
		t.Helper()
		nettest.Eventually(t, 10*time.Second, func() error {
			out, err := l.Node.Try(program(t, "waymark"), "status", "--run-dir", l.RunDir)
			for _, w := range want {
				if err == nil && !strings.Contains(out, w) {
					err = fmt.Errorf("status does not say %q:\n%s", w, out)
				}
			}
			return err
		})
	}
	says("not ready: the source has not been read completely: "+missing+": no such file or directory", "Learned: none (BGP is not configured)")
	if out := l.Node.Run(t, program(t, "waymark"), "status", "--run-dir", l.RunDir, "-o", "json"); strings.Contains(out, "null") {
		t.Errorf("status has null: %s", out)
	}
	node := "apiVersion: v1\nkind: Node\nmetadata: {name: %s}\n"
	l.Write(t, "others.yaml", fmt.Sprintf(node, "b")+"---\n"+fmt.Sprintf(node, "a"))
	l.Node.Run(t, "mkdir", missing)
	l.Node.Run(t, "cp", l.Manifests+"/others.yaml", missing)
	says(`not ready: BGP is not configured: the source has no Node "node" (it has a, b)`)
	if out := l.get(t, "/healthz"); out != "ok\n" {
		t.Errorf("healthz: %q", out)
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
	if out := l.get(t, "/readyz"); out != "no session is established\nrouter ("+routerAddr+"): peer says AS 64514, configured 64512\n" {
		t.Errorf("readyz: %q", out)
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
