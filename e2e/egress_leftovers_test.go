package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressLeavesNothing: when policies go, every node is in all that the kernel has what it was before they came: also when
// the agent was killed with the policy half in force, and another one finds it gone.
func TestEgressLeavesNothing(t *testing.T) {
	l := newEgressLab(t)
	// One address lies in the gateways' own network: they answer for it.
	gateway := l.Policy("bank", `203.0.113.9/32, "2001:db8:113::9/128"`, `addresses: [198.18.1.240, "fd18:1::240", 198.51.100.7]`)
	own := l.Policy("own", to(10))
	pod := "---\napiVersion: waymark.io/v1alpha1\nkind: EgressPolicy\nmetadata: {name: pod}\nspec: {priority: 90, destinations: [203.0.113.0/24], source: Pod}\n"
	addPartners(t, l, 10)
	l.Describe(t, "n1 n2 n3")
	l.Write(t, "objects.yaml", egresslab.Objects)
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 0)
	none := kernelStates(t, l)
	writePolicies(t, l, pod)
	for _, n := range l.Nodes {
		eventuallySource(t, n.Pod, egresslab.Partner4, n.Pod4)
	}
	before := kernelStates(t, l)

	use := func() {
		t.Helper()
		for _, n := range l.Nodes {
			for _, to := range []string{egresslab.Partner4, egresslab.Partner6, partners(10)[0], partners(10)[1]} {
				for _, network := range []string{"udp", "tcp"} {
					nettest.Eventually(t, 10*time.Second, func() error {
						_, err := nattest.Seen(n.Pod, network, "", to)
						return err
					})
				}
			}
		}
	}
	t.Run("off and on", func(t *testing.T) {
		for range 2 {
			writePolicies(t, l, pod, gateway, own)
			l.Settled(t, 4)
			use()
			writePolicies(t, l, pod)
			wantStates(t, l, before)
		}
	})
	t.Run("no policy at all", func(t *testing.T) {
		writePolicies(t, l)
		wantStates(t, l, none)
		writePolicies(t, l, gateway, own)
		l.Settled(t, 4)
		use()
		writePolicies(t, l)
		wantStates(t, l, none)
		writePolicies(t, l, pod)
		wantStates(t, l, before)
	})
	t.Run("killed", func(t *testing.T) {
		for _, after := range []time.Duration{100, 200, 300, 5000} {
			writePolicies(t, l, pod, gateway, own)
			time.Sleep(after * time.Millisecond)
			if after == 5000 {
				use()
			}
			for _, n := range l.Nodes {
				n.Agent.Kill()
			}
			writePolicies(t, l, pod)
			for _, n := range l.Nodes {
				n.StartAgent(t)
			}
			wantStates(t, l, before)
		}
	})
}

// kernelStates is all that nodes have in their kernels, by name.
func kernelStates(t testing.TB, l *egresslab.Lab) map[string]string {
	t.Helper()
	states := map[string]string{}
	for _, n := range l.Nodes {
		states[n.Name] = kernelState(t, n)
	}
	return states
}

// wantStates waits until the nodes have what they had.
func wantStates(t testing.TB, l *egresslab.Lab, want map[string]string) {
	t.Helper()
	for _, n := range l.Nodes {
		nettest.Eventually(t, 20*time.Second, func() error {
			if changes := changedLines(want[n.Name], kernelState(t, n)); changes != "" {
				return fmt.Errorf("node %s is not what it was:\n%s", n.Name, changes)
			}
			return nil
		})
	}
}

var (
	// volatile parts of the output change by themselves.
	volatile = regexp.MustCompile(` expires \S+| (valid|preferred)_lft \S+|used \S+|error -?\d+|handle \d+`)
	counting = regexp.MustCompile(`(?m)^net\.(netfilter\.nf_conntrack_count|.*\.(stable_secret|base_reachable_time|base_reachable_time_ms)) .*$\n`)
	// marked is a connection with a mark of ours.
	marked = regexp.MustCompile(`(?m)^.* mark=[1-9].*$`)
)

func kernelState(t testing.TB, n *egresslab.Node) string {
	t.Helper()
	var all []string
	for _, command := range []string{
		"ip -d link", "ip addr", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all",
		"ip neigh show nud permanent", "ip neigh show proxy", "bridge fdb", "nft --stateless list ruleset", "sysctl -a --pattern ^net",
	} {
		words := strings.Fields(command)
		for line := range strings.Lines(volatile.ReplaceAllString(n.NS.Run(t, words[0], words[1:]...), "")) {
			if line = strings.TrimSpace(line); !counting.MatchString(line + "\n") {
				all = append(all, command+": "+line)
			}
		}
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		for _, line := range marked.FindAllString(n.NS.Run(t, "conntrack", "-L", "-f", family), -1) {
			all = append(all, "conntrack: "+line)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// changedLines are those that only one of two sorted texts has.
func changedLines(before, after string) string {
	var changes []string
	had, has := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range had {
		if !slices.Contains(has, line) {
			changes = append(changes, "- "+line)
		}
	}
	for _, line := range has {
		if !slices.Contains(had, line) {
			changes = append(changes, "+ "+line)
		}
	}
	return strings.Join(changes, "\n")
}
