package agent

import (
	"cmp"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/bfd"
)

// egress is what becomes of the egress addresses that the node uses or may own.
func (d *difference) egress(before, after *EgressPlan) {
	if before == nil {
		before = &EgressPlan{}
	}
	for i := range after.States {
		now := &after.States[i]
		was := before.state(now.VNI)
		if was == nil {
			d.add("+", "egress", now.name(), "is added: owner %s, of %s", cmp.Or(now.Gateway, "none"), now.list())
			continue
		}
		switch {
		case was.Gateway == now.Gateway:
		case now.Gateway == "":
			d.add("!", "egress", now.name(), "has no owner, before %s: the fallback is in force", was.Gateway)
		default:
			d.add("~", "egress", now.name(), "has the owner %s, before %s", now.Gateway, cmp.Or(was.Gateway, "none"))
		}
		if was.list() != now.list() {
			d.add("~", "egress", now.name(), "may be owned by %s, before by %s", now.list(), was.list())
		}
		switch {
		case now.Uses && !was.Uses:
			d.add("+", "egress", now.name(), "is used by pods here")
		case was.Uses && !now.Uses:
			d.add("-", "egress", now.name(), "is used by no pods here any more")
		}
	}
	for i := range before.States {
		if was := &before.States[i]; after.state(was.VNI) == nil {
			d.add("-", "egress", was.name(), "is removed")
		}
	}
	for _, now := range after.Sessions {
		i := slices.IndexFunc(before.Sessions, func(s bfd.SessionConfig) bool { return s.Key == now.Key })
		if i >= 0 && before.Sessions[i].Timing != now.Timing {
			was := before.Sessions[i]
			d.add("~", "egress", "", "gateway %s is watched every %v, %d times, before every %v, %d times", now.Peer,
				now.DesiredMinTx, now.DetectMult, was.DesiredMinTx, was.DetectMult)
		}
	}
}

// state is that of a VNI; nil: there is none.
func (p *EgressPlan) state(vni uint32) *EgressState {
	i := slices.IndexFunc(p.States, func(s EgressState) bool { return s.VNI == vni })
	if i < 0 {
		return nil
	}
	return &p.States[i]
}

func (s *EgressState) name() string {
	if s.Address.IsValid() {
		return s.Address.String()
	}
	return "of the gateway itself (" + strings.Join(s.Policies, ", ") + ")"
}

// list names the gateways, the first choice first.
func (s *EgressState) list() string {
	var nodes []string
	for _, g := range s.Gateways {
		if g.Leaving {
			nodes = append(nodes, g.Node+" (leaving)")
		} else {
			nodes = append(nodes, g.Node)
		}
	}
	return cmp.Or(strings.Join(nodes, ", "), "nobody")
}
