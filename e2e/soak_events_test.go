package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
)

// event is something that happens to a node, or to all.
type event struct {
	kind       string
	node       *egresslab.Node // nil: to all
	begin, end func(t testing.TB)
	effect
}

// effect is what it may do.
type effect struct {
	// absent: pods of the node itself may be without service until all is as before.
	absent bool
	// lost is how long pods of other nodes may be without service, after the beginning; and those of the node unless it is
	// absent. Zero: no packet is lost, and connections go on.
	lost time.Duration
	// exposed: until the repair, packets may leave with other sources.
	exposed bool
	// missing: a gateway may be missing, so that a fallback is right.
	missing bool
	// asleep: the node's agent is away, and follows an edit only when it is back.
	asleep bool
	// moves: addresses go to other gateways by intent.
	moves bool
}

func (e event) String() string {
	if e.node == nil {
		return e.kind
	}
	return e.kind + " " + e.node.Name
}

// event draws one.
func (s *soak) event() event {
	n := s.Nodes[s.rand.IntN(len(s.Nodes))]
	switch draw := s.rand.IntN(20); {
	case draw < 6:
		return s.deathOf(n)
	case draw < 8:
		return event{kind: "stop agent", node: n, effect: effect{asleep: true}, begin: func(testing.TB) { _ = n.Agent.Stop() }, end: func(t testing.TB) { n.StartAgent(t) }}
	case draw < 11:
		return event{
			kind: "drain", node: n, effect: effect{absent: true, moves: true},
			begin: func(t testing.TB) { s.Describe(t, soakGateways, n.Name) },
			end:   func(t testing.TB) { s.Describe(t, soakGateways) },
		}
	case draw < 14:
		return s.edit()
	case draw < 16:
		return s.foreign(n)
	}
	return s.sabotage(n)
}

// deathOf is a death of the node or of what runs on it.
func (s *soak) deathOf(n *egresslab.Node) event {
	i := s.rand.IntN(len(egresslab.Deaths) + 1)
	if i == len(egresslab.Deaths) {
		return event{
			kind: "kill waymark-bfd", node: n, effect: effect{absent: true, lost: failoverLimit, missing: true},
			begin: func(testing.TB) { n.BFD.Kill() }, end: func(t testing.TB) { n.StartBFD(t) },
		}
	}
	death := egresslab.Deaths[i]
	e := event{kind: death.Name + " dies", node: n, begin: func(t testing.TB) { death.Kill(t, n) }, end: func(t testing.TB) { death.Mend(t, n) }}
	e.effect = effect{asleep: true}
	if death.Moves {
		e.effect = effect{absent: true, lost: failoverLimit, missing: true, asleep: true}
	}
	return e
}

// edit changes policies: the one that is edited to anything, the others in what they have no other source by.
func (s *soak) edit() event {
	if s.rand.IntN(3) == 0 {
		priority, more := 10+s.rand.IntN(3), []string{"", ", 192.0.2.0/24", ", 192.0.2.0/25, 192.0.2.128/25"}[s.rand.IntN(3)]
		return event{
			kind:  "edit the others' policies",
			begin: func(t testing.TB) { s.Write(t, "policies.yaml", s.policies(priority, more)) },
		}
	}
	next := policy{priority: 1 + s.rand.IntN(30), fallback: []string{"Drop", "Node", "Pod"}[s.rand.IntN(3)], more: []string{"", ", 192.0.2.7/32"}[s.rand.IntN(2)]}
	next.addresses = [][]string{nil, {"198.51.100.8"}, {"198.51.100.9"}, {"198.51.100.8", "198.51.100.9"}}[s.rand.IntN(4)]
	return event{
		kind: fmt.Sprintf("edit policy to %v", next.addresses),
		begin: func(t testing.TB) {
			s.was, s.moving, s.edited = s.moving, next, time.Now()
			if text := next.yaml(s.Lab); text != "" {
				s.Write(t, "moving.yaml", text)
			} else {
				s.Remove(t, "moving.yaml")
			}
			time.Sleep(editTime)
		},
	}
}

// foreign is what others do with what is theirs.
func (s *soak) foreign(n *egresslab.Node) event {
	commands := [][]string{
		{"nft", "delete table inet foreign"},
		{"iptables", "-t", "nat", "-F"},
		{"iptables-legacy", "-t", "nat", "-F"},
		{"ip6tables", "-t", "nat", "-F"},
		{"conntrack", "-D", "-s", "192.0.2.77"},
		{"ip", "route", "flush", "proto", "boot", "192.0.2.0/24"},
	}
	command := commands[s.rand.IntN(len(commands))]
	return event{kind: "foreign " + strings.Join(command, " "), node: n, begin: func(t testing.TB) {
		out, err := n.NS.Try(command[0], command[1:]...)
		if err != nil && !strings.Contains(out, "0 flow entries") {
			t.Errorf("%v", err)
		}
		if command[0] == "nft" {
			n.Masquerade(t)
		}
	}}
}

// sabotage is what nobody should do.
func (s *soak) sabotage(n *egresslab.Node) event {
	exposed, lost := effect{exposed: true, lost: takenLimit}, effect{lost: takenLimit}
	first := func(t testing.TB, command ...string) string {
		t.Helper()
		line, _, _ := strings.Cut(n.NS.Run(t, command[0], command[1:]...), "\n")
		return line
	}
	kinds := []event{
		{kind: "nft flush ruleset", effect: exposed, begin: func(t testing.TB) {
			n.NS.Run(t, "nft", "flush", "ruleset")
			n.Masquerade(t)
		}},
		{kind: "nft delete table inet waymark", effect: exposed, begin: func(t testing.TB) { n.NS.Run(t, "nft", "delete", "table", "inet", "waymark") }},
		{kind: "delete our rules", effect: lost, begin: func(t testing.TB) {
			for range 100 {
				if _, err := n.NS.Try("ip", "rule", "del", "protocol", "180"); err != nil {
					return
				}
			}
		}},
		{kind: "delete a device of ours", effect: lost, begin: func(t testing.TB) {
			device := strings.Fields(first(t, "ip", "-o", "link", "show", "type", "vxlan"))[1]
			n.NS.IP(t, "link del "+strings.TrimSuffix(device, ":"))
		}},
		{kind: "flush our routes", effect: lost, begin: func(t testing.TB) { n.NS.IP(t, "route flush table all proto 180") }},
		{kind: "flush proxy neighbours", effect: lost, begin: func(t testing.TB) {
			_, _ = n.NS.Try("ip", "neigh", "del", "proxy", lanAddress, "dev", "eth0")
		}},
		{kind: "flush neighbours of a device of ours", effect: lost, begin: func(t testing.TB) {
			device := strings.Fields(first(t, "ip", "-o", "link", "show", "type", "vxlan"))[1]
			n.NS.IP(t, "neigh flush nud permanent dev "+strings.TrimSuffix(device, ":"))
		}},
		{kind: "stop a while waymark-agent", effect: effect{asleep: true}, begin: func(testing.TB) { n.Agent.Signal(syscall.SIGSTOP) }, end: func(testing.TB) { n.Agent.Signal(syscall.SIGCONT) }},
	}
	e := kinds[s.rand.IntN(len(kinds))]
	e.node = n
	return e
}
