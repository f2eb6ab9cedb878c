package export

import (
	"fmt"
	"strconv"
	"strings"
)

// frr writes lines of frr.conf, which vtysh takes too. A route has no name there: it stands in a comment before. BFD for static
// routes came after FRR 8.4.
func frr(b *strings.Builder, r Route) {
	if r.Name != "" {
		b.WriteString("! " + r.Name + "\n")
	}
	b.WriteString(family(r, "ip route", "ipv6 route"))
	words(b, r.Prefix.String(), r.NextHop.String())
	number(b, "tag", r.Tag)
	number(b, "", r.Preference)
	text(b, "vrf", r.VRF)
	if r.BFD {
		words(b, "bfd")
	}
	b.WriteByte('\n')
}

// bird writes static protocols for BIRD 2, a file for "include". Those of a VRF have a table of their own, for a kernel protocol
// or a pipe. The tag is that of OSPF, which takes it over.
func bird(b *strings.Builder, routes []Route) {
	together := func(i, j int) bool {
		return i >= 0 && j < len(routes) && routes[i].VRF == routes[j].VRF && routes[i].NextHop.Is4() == routes[j].NextHop.Is4()
	}
	for i, r := range routes {
		if !together(i-1, i) {
			birdHead(b, r)
		}
		fmt.Fprintf(b, "\troute %s via %s", r.Prefix, r.NextHop)
		if r.BFD {
			b.WriteString(" bfd")
		}
		if r.Preference != 0 || r.Tag != 0 {
			b.WriteString(" {")
			if r.Preference != 0 {
				fmt.Fprintf(b, " preference = %d;", r.Preference)
			}
			if r.Tag != 0 {
				fmt.Fprintf(b, " ospf_tag = %d;", r.Tag)
			}
			b.WriteString(" }")
		}
		b.WriteByte(';')
		text(b, "#", r.Name)
		b.WriteByte('\n')
		if !together(i, i+1) {
			b.WriteString("}\n")
		}
	}
}

// birdHead begins the protocol of a VRF and family.
func birdHead(b *strings.Builder, r Route) {
	name, channel := birdName(r.VRF, r.NextHop.Is6()), family(r, "ipv4", "ipv6")
	if r.VRF == "" {
		fmt.Fprintf(b, "protocol static %s {\n\t%s;\n", name, channel)
		return
	}
	fmt.Fprintf(b, "%s table %s_table;\nprotocol static %s {\n\tvrf \"%s\";\n\t%s { table %s_table; };\n", channel, name, name, r.VRF, channel, name)
}

// birdName is the protocol of a VRF and family.
func birdName(vrf string, ipv6 bool) string {
	name := "waymark4"
	if ipv6 {
		name = "waymark6"
	}
	if vrf != "" {
		name += "_" + strings.NewReplacer(".", "_", "-", "_").Replace(vrf)
	}
	return name
}

// linux writes lines for "ip -batch". A VRF that is a number is a routing table.
func linux(b *strings.Builder, r Route) {
	fmt.Fprintf(b, "route replace %s via %s proto static", r.Prefix, r.NextHop)
	linuxTable(b, r.VRF)
	number(b, "metric", r.Preference)
	text(b, "#", r.Name)
	b.WriteByte('\n')
}

func linuxTable(b *strings.Builder, vrf string) {
	if _, err := strconv.ParseUint(vrf, 10, 32); err == nil {
		words(b, "table", vrf)
	} else {
		text(b, "vrf", vrf)
	}
}

// openbsd writes commands of route(8). The name is the route's label, which pf knows too. A VRF is the number of a routing table.
func openbsd(b *strings.Builder, r Route) {
	b.WriteString("route -n")
	text(b, "-T", r.VRF)
	words(b, "add", family(r, "-inet", "-inet6"))
	number(b, "-priority", r.Preference)
	text(b, "-label", r.Name)
	words(b, r.Prefix.String(), r.NextHop.String())
	b.WriteByte('\n')
}
