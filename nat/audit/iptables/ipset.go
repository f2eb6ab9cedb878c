package iptables

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/command"
)

// ipset is a set of addresses, and of what else its type says.
type ipset struct {
	dimensions []string // ip, net, port, iface
	elements   audit.Set
	unread     bool // or there is something in it that is not understood
}

// set matches by a set; dimensions is "src" or "dst,dst".
func (p *parser) set(not bool, name, dimensions string) {
	set := p.ipset(name)
	sides := strings.Split(dimensions, ",")
	if set.unread || len(sides) < len(set.dimensions) {
		p.uncertain()
		return
	}
	m := audit.Match{Not: not, In: set.elements}
	for i, dimension := range set.dimensions {
		source := sides[i] == "src"
		var key audit.Key
		switch {
		case dimension == "port":
			m.Keys = append(m.Keys, audit.Key{Field: audit.Protocol})
			if key.Field = audit.DestinationPort; source {
				key.Field = audit.Other
			}
		case dimension == "iface":
			if key.Field = audit.OutInterface; source {
				key.Field = audit.InInterface
			}
		case source:
			key.Field = audit.SourceAddress
		default:
			key.Field = audit.DestinationAddress
		}
		m.Keys = append(m.Keys, key)
	}
	p.matches = append(p.matches, m)
}

func (t *Table) ipset(name string) *ipset {
	if known := t.sets[name]; known != nil {
		return known
	}
	set := &ipset{}
	t.sets[name] = set
	out, err := command.Output(t.ctx, "ipset", "save", name)
	set.unread = err != nil
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 3 && fields[0] == "create":
			_, dimensions, _ := strings.Cut(fields[2], ":")
			set.dimensions = strings.Split(dimensions, ",")
			for _, d := range set.dimensions {
				set.unread = set.unread || d != "ip" && d != "net" && d != "port" && d != "iface" // mac, mark, a list of sets
			}
		case len(fields) >= 3 && fields[0] == "add":
			element, ok := set.element(fields[2])
			set.unread = set.unread || !ok || strings.Contains(line, " nomatch")
			set.elements = append(set.elements, element)
		}
	}
	return set
}

func (s *ipset) element(text string) ([]audit.Range, bool) {
	parts := strings.Split(text, ",")
	if len(parts) != len(s.dimensions) {
		return nil, false
	}
	var ranges []audit.Range
	for i, part := range parts {
		switch s.dimensions[i] {
		case "port":
			protocol, port, ok := strings.Cut(part, ":")
			n, err := strconv.ParseUint(port, 10, 16)
			number, known := protocols[protocol]
			if !ok || err != nil || !known {
				return nil, false
			}
			ranges = append(ranges, audit.Range{Low: number, High: number}, audit.Range{Low: n, High: n})
		case "iface":
			ranges = append(ranges, audit.Range{Word: part})
		default:
			if prefix, err := netip.ParsePrefix(part); err == nil && prefix.Bits() == 0 {
				ranges = append(ranges, audit.Prefix(prefix))
				continue
			}
			in, ok := addresses(part)
			if !ok {
				return nil, false
			}
			ranges = append(ranges, in)
		}
	}
	return ranges, true
}
