package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/agent"
)

const ownAddress = "the gateway's own"

// printEgress tells of the egress addresses that pods of the node use, or that it may own.
func printEgress(w io.Writer, now time.Time, s agent.Status) {
	if len(s.Egress) == 0 {
		return
	}
	fmt.Fprintf(w, "\nEGRESS ADDRESS\tVNI\tOWNER\tSINCE\tHERE\tGATEWAYS\tFAILOVERS\tPORTS\n")
	for i := range s.Egress {
		e := &s.Egress[i]
		address := ownAddress
		if e.Address.IsValid() {
			address = e.Address.String()
		}
		var gateways []string
		for _, g := range e.Gateways {
			text := fmt.Sprintf("%s %s", g.Node, g.Health)
			if g.Leaving {
				text += ", leaving"
			}
			gateways = append(gateways, text)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", address, e.VNI, orNone(e.Gateway), age(now, e.Since), part(e),
			orNone(strings.Join(gateways, "; ")), failovers(now, e), ports(s, e))
	}
}

// part is what the node has to do with an egress address.
func part(e *agent.EgressState) string {
	is := "uses it"
	switch {
	case e.Owns:
		is = "owner"
	case e.Ports > 0:
		is = "standby"
	}
	if e.Uses && e.Ports > 0 {
		is += ", uses it"
	}
	return is
}

func failovers(now time.Time, e *agent.EgressState) string {
	text := fmt.Sprint(e.Failovers)
	if f := e.LastFailover; f != nil {
		text += fmt.Sprintf(", last %s ago from %s to %s, %s without", age(now, f.At), f.From, cmp.Or(f.To, "none"), f.Outage.Round(10*time.Millisecond))
	}
	return text
}

func ports(s agent.Status, e *agent.EgressState) string {
	i := slices.IndexFunc(s.Ports, func(u agent.PortUse) bool { return u.Address == e.Address })
	switch {
	case e.Ports == 0 || !e.Address.IsValid():
		return "-"
	case i < 0:
		return "not counted yet"
	case len(s.Ports[i].Busiest) == 0:
		return fmt.Sprintf("0 of %d", e.Ports)
	}
	busiest := s.Ports[i].Busiest[0]
	return fmt.Sprintf("%d of %d to %s", busiest.Connections, e.Ports, busiest)
}

// egressView is an egress address of the cluster.
type egressView struct {
	Address  string              `json:"address,omitempty"` // empty: the gateway's own
	VNI      int32               `json:"vni"`
	Term     int64               `json:"term"`
	Policies []string            `json:"policies"`
	Gateways []string            `json:"gateways"` // that may own it, as the controller says, the owner first
	Seen     map[string][]string `json:"seen"`     // the nodes that see each owner; "": none is alive
}

// egressOf are the egress addresses of all policies, by address.
func egressOf(now time.Time, c *cluster) []egressView {
	views := []egressView{}
	for i := range c.policies {
		for _, a := range c.policies[i].Status.Addresses {
			at := slices.IndexFunc(views, func(v egressView) bool { return v.VNI == a.VNI })
			if at < 0 {
				at = len(views)
				views = append(views, egressView{Address: a.Address, VNI: a.VNI, Term: a.Term, Gateways: []string{}, Seen: c.owners(now, a.VNI)})
				for _, g := range a.Gateways {
					views[at].Gateways = append(views[at].Gateways, g.Node)
				}
			}
			views[at].Policies = append(views[at].Policies, c.policies[i].Name)
		}
	}
	slices.SortFunc(views, func(a, b egressView) int { return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.VNI, b.VNI)) })
	return views
}

func (v *overview) printEgress(w io.Writer) {
	if len(v.Egress) == 0 {
		return
	}
	fmt.Fprintf(w, "\nEGRESS ADDRESS\tPOLICIES\tOWNER\tSTANDBY\tNODES SAY\n")
	for _, e := range v.Egress {
		owner, standby := "none", "none"
		if len(e.Gateways) > 0 {
			owner, standby = e.Gateways[0], orNone(names(e.Gateways[1:]))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", cmp.Or(e.Address, ownAddress), names(e.Policies), owner, standby, e.say(owner))
	}
}

// say is whom the nodes see as the owner, beside the one that the controller says.
func (e *egressView) say(owner string) string {
	var texts []string
	for _, seen := range slices.Sorted(maps.Keys(e.Seen)) {
		if text := orNone(seen); text == owner {
			texts = append(texts, fmt.Sprintf("so %d", len(e.Seen[seen])))
		} else {
			texts = append(texts, fmt.Sprintf("%s %s", text, names(e.Seen[seen])))
		}
	}
	return orNone(strings.Join(texts, "; "))
}
