package registry

import (
	"fmt"
	"net/netip"
)

// Sight is as whom a server sees a pod: the proof of with which source its packets arrive.
type Sight struct {
	Server  string     `json:"server"`
	Pod     string     `json:"pod"`
	Address netip.Addr `json:"address"` // the pod's
	Seen    netip.Addr `json:"seen"`
	Class   Class      `json:"class"` // of what is seen
	Node    string     `json:"node,omitempty"`
	Whose   string     `json:"whose,omitempty"`
	OK      bool       `json:"ok"` // it is the pod's own
	Message string     `json:"message"`
}

// JudgeSight says what it means that a server sees a pod that has an address with another, or with that.
func JudgeSight(cluster Cluster, server, pod string, address, seen netip.Addr) Sight {
	p := cluster.index().find(seen.String())
	s := Sight{Server: server, Pod: pod, Address: address, Seen: seen, Class: p.class, Whose: p.whose, OK: seen == address}
	if p.node != nil {
		s.Node = p.node.Name
	}
	what := "which is of nobody that is known here: somebody on the way changes it"
	switch {
	case s.OK:
		s.Message = fmt.Sprintf("%s sees pod %s with its own address %s", server, pod, address)
		return s
	case s.Class == NodeAddress:
		what = "the address of node " + s.Node + ": it is masqueraded there"
	case s.Class == EgressAddress:
		what = "the egress address of " + s.Whose
	case s.Class == PodAddress && s.Whose != "":
		what = "the address of pod " + s.Whose
	case s.Class == PodAddress && s.Node != "":
		what = fmt.Sprintf("in the pod network of node %s: it is masqueraded there, as who comes out of a tunnel may be", s.Node)
	}
	s.Message = fmt.Sprintf("%s sees pod %s, which is %s, as %s, %s", server, pod, address, seen, what)
	return s
}
