package egresslab

import "testing"

// Death is a way for a node to go, and to come back.
type Death struct {
	Name       string
	Kill, Mend func(t testing.TB, n *Node)
	// Moves: what the node owned goes to another one. Else its kernel goes on by itself.
	Moves bool
}

// Deaths are all of them. A node without power keeps its cable out, since its kernel cannot be stopped here.
var Deaths = []Death{
	{Name: "network", Kill: func(t testing.TB, n *Node) { n.Cut(t) }, Mend: func(t testing.TB, n *Node) { n.Mend(t) }, Moves: true},
	{
		Name:  "power",
		Kill:  func(t testing.TB, n *Node) { n.Cut(t); n.Agent.Kill(); n.BFD.Kill() },
		Mend:  func(t testing.TB, n *Node) { n.Mend(t); n.Start(t) },
		Moves: true,
	},
	{Name: "agent", Kill: func(_ testing.TB, n *Node) { n.Agent.Kill() }, Mend: func(t testing.TB, n *Node) { n.StartAgent(t) }},
}
