package export

import (
	"fmt"
	"strings"
)

// routeMap writes a prefix list, if there is no tag, and a route map in the words of IOS, which NX-OS, EOS and FRR share. Lists
// have no numbers: a router finds them itself, and what is there already stays as it is.
func (p *passage) routeMap(b *strings.Builder, end string) {
	list := p.version("ip", "ipv6") + " prefix-list " + p.name
	if p.tag == 0 {
		for _, prefix := range p.prefixes {
			fmt.Fprintf(b, "%s permit %s\n", list, prefix)
		}
	}
	p.onlyMap(b, end)
}

// onlyMap writes the route map.
func (p *passage) onlyMap(b *strings.Builder, end string) {
	match := fmt.Sprintf("tag %d", p.tag)
	if p.tag == 0 {
		match = p.version("ip", "ipv6") + " address prefix-list " + p.name
	}
	fmt.Fprintf(b, "route-map %s permit 10\n match %s\n", p.name, match)
	if p.tags() {
		fmt.Fprintf(b, " set tag %d\n", p.tag)
	}
	b.WriteString(end + "\n")
}

// block writes lines, each one space deeper than the one before, and an end. Empty lines are left out.
func block(b *strings.Builder, end string, lines ...string) {
	depth := 0
	for _, line := range lines {
		if line != "" {
			b.WriteString(strings.Repeat(" ", depth) + line + "\n")
			depth++
		}
	}
	b.WriteString(end + "\n")
}

// in is a word and the VRF, or nothing.
func (p *passage) in(word string) string {
	if p.vrf == "" {
		return ""
	}
	return word + " " + p.vrf
}

// join puts one space between words that are not empty.
func join(list ...string) string { return strings.Join(strings.Fields(strings.Join(list, " ")), " ") }

func ciscoIOSInto(b *strings.Builder, p passage) {
	p.routeMap(b, "!")
	pass := "redistribute static route-map " + p.name
	switch p.Protocol {
	case "ospf":
		if p.ipv6 {
			block(b, "!", "router ospfv3 "+p.Instance, join("address-family ipv6 unicast", p.in("vrf")), pass)
		} else {
			// Without "subnets" older ones pass on classful networks only.
			block(b, "!", join("router ospf", p.Instance, p.in("vrf")), "redistribute static subnets route-map "+p.name)
		}
	case "isis":
		if p.ipv6 {
			block(b, "!", join("router isis", p.Instance), "address-family ipv6", pass)
		} else {
			block(b, "!", join("router isis", p.Instance), "redistribute static ip route-map "+p.name)
		}
	case "eigrp":
		block(b, "!", p.version("router eigrp ", "ipv6 router eigrp ")+p.Instance, pass)
	case "bgp":
		block(b, "!", "router bgp "+p.Instance, join("address-family", p.version("ipv4", "ipv6"), p.in("vrf")), pass)
	}
}

// ciscoIOSXRInto uses RPL, whose sets and policies are replaced as a whole.
func ciscoIOSXRInto(b *strings.Builder, p passage) {
	match := fmt.Sprintf("tag is %d", p.tag)
	if p.tag == 0 {
		match = "destination in " + p.name
		fmt.Fprintf(b, "prefix-set %s\n", p.name)
		for i, prefix := range p.prefixes {
			comma := ","
			if i+1 == len(p.prefixes) {
				comma = ""
			}
			fmt.Fprintf(b, "  %s%s\n", prefix, comma)
		}
		b.WriteString("end-set\n!\n")
	}
	then := "pass"
	if p.tags() {
		then = fmt.Sprintf("set tag %d", p.tag)
	}
	fmt.Fprintf(b, "route-policy %s\n  if %s then\n    %s\n  else\n    drop\n  endif\nend-policy\n!\n", p.name, match, then)
	pass, afi := "redistribute static route-policy "+p.name, "address-family "+p.version("ipv4", "ipv6")
	switch p.Protocol {
	case "ospf":
		block(b, "!", p.version("router ospf ", "router ospfv3 ")+p.Instance, p.in("vrf"), pass)
	case "isis":
		block(b, "!", "router isis "+p.Instance, afi+" unicast", pass)
	case "eigrp":
		block(b, "!", "router eigrp "+p.Instance, afi, pass)
	case "bgp":
		block(b, "!", "router bgp "+p.Instance, p.in("vrf"), afi+" unicast", pass)
	}
}

func ciscoNXOSInto(b *strings.Builder, p passage) {
	p.routeMap(b, "!")
	pass, afi := "redistribute static route-map "+p.name, "address-family "+p.version("ipv4", "ipv6")+" unicast"
	switch p.Protocol {
	case "ospf":
		if p.ipv6 {
			block(b, "!", "router ospfv3 "+p.Instance, p.in("vrf"), afi, pass)
		} else {
			block(b, "!", "router ospf "+p.Instance, p.in("vrf"), pass)
		}
	case "isis", "eigrp":
		block(b, "!", "router "+p.Protocol+" "+p.Instance, afi, pass)
	case "bgp":
		block(b, "!", "router bgp "+p.Instance, p.in("vrf"), afi, pass)
	}
}

// aristaEOSInto has the lines of an IPv6 list in a block.
func aristaEOSInto(b *strings.Builder, p passage) {
	if p.ipv6 && p.tag == 0 {
		fmt.Fprintf(b, "ipv6 prefix-list %s\n", p.name)
		for _, prefix := range p.prefixes {
			fmt.Fprintf(b, " permit %s\n", prefix)
		}
		b.WriteString("!\n")
		p.onlyMap(b, "!")
	} else {
		p.routeMap(b, "!")
	}
	pass := "redistribute static route-map " + p.name
	switch p.Protocol {
	case "ospf":
		block(b, "!", join(p.version("router ospf", "ipv6 router ospf"), p.Instance, p.in("vrf")), pass)
	case "isis":
		block(b, "!", "router isis "+p.Instance, p.version("", "address-family ipv6 unicast"), pass)
	case "bgp":
		block(b, "!", "router bgp "+p.Instance, p.in("vrf"), p.version("address-family ipv4", "address-family ipv6"), pass)
	}
}

// frrInto passes routes on into level 2 of IS-IS, that of a backbone. Its EIGRP redistributes without a filter.
func frrInto(b *strings.Builder, p passage) {
	p.routeMap(b, "exit")
	pass := "redistribute static route-map " + p.name
	switch p.Protocol {
	case "ospf":
		block(b, "exit", join(p.version("router ospf", "router ospf6"), p.in("vrf")), pass)
	case "isis":
		block(b, "exit", "router isis "+p.Instance, fmt.Sprintf("redistribute %s static level-2 route-map %s", p.version("ipv4", "ipv6"), p.name))
	case "bgp":
		block(b, " exit-address-family\nexit", join("router bgp", p.Instance, p.in("vrf")), p.version("address-family ipv4 unicast", "address-family ipv6 unicast"), pass)
	}
}
