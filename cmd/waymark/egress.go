package main

import (
	"cmp"
	"fmt"
	"io"
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
