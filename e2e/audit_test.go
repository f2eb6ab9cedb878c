package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestAuditOfARunningAgent: what another program's rules change is in status and metrics, with the rule, and so is that a
// backend cannot win; `waymark check source` says the same by hand. When the other one is gone, so is what was said.
func TestAuditOfARunningAgent(t *testing.T) {
	l := NewLab(t)
	routers[0].start(t, l, false)
	l.Speak(t)
	begin := time.Now()
	l.Agent(t, "--nat-backend", "iptables", "--metrics-address", "127.0.0.1:9470")
	l.Settled(t, begin)
	check := func() (string, error) {
		return l.Node.Try(program(t, "waymark"), "check", "source", "--run-dir", l.RunDir, "--pod", podAddr, "--to", hostAddr)
	}
	said := func(reason string) error {
		s, err := l.Status(t)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(s.Problems, func(p agent.Problem) bool { return p.Reason == reason }) {
			return fmt.Errorf("no problem %s: %+v, audit %+v", reason, s.Problems, s.Audit)
		}
		return nil
	}
	// A chain of an earlier priority decides before iptables, whoever was first.
	l.Node.Run(t, "nft", "add table ip early; add chain ip early post { type nat hook postrouting priority srcnat - 20; }; "+
		"add rule ip early post ip saddr "+podCIDR+" masquerade")
	nettest.Eventually(t, 40*time.Second, func() error { return said("BackendBeaten") })
	nettest.Eventually(t, 40*time.Second, func() error { return said("SourceChanged") })
	out, err := check()
	if err == nil || !strings.Contains(out, "early") || !strings.Contains(out, nodeAddr) {
		t.Errorf("check source does not name the rule: %v\n%s", err, out)
	}
	metrics := playWith(t, l.Node, "", roleGet, "http://127.0.0.1:9470/metrics")
	for _, line := range []string{"waymark_nat_backend_beaten 1", `waymark_source_audit_findings{kind="changed"} 1`} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	// The lab's own masquerade has the priority of iptables: nothing tells which of the two is first.
	l.Node.Run(t, "nft", "delete table ip early; delete table ip foreign")
	if out, err := check(); err != nil {
		t.Errorf("check source after the other one has gone: %v\n%s", err, out)
	}
	nettest.Eventually(t, 40*time.Second, func() error {
		if said("SourceChanged") == nil || said("BackendBeaten") == nil {
			return fmt.Errorf("it is still said")
		}
		return nil
	})
}
