package export

import (
	"fmt"
	"strings"
)

// routePolicy writes what VRP and Comware have in common: a prefix list, if there is no tag, and a route policy.
func (p *passage) routePolicy(b *strings.Builder, list, match string) {
	condition := fmt.Sprintf("tag %d", p.tag)
	if p.tag == 0 {
		condition = match + " " + p.name
		for _, prefix := range p.prefixes {
			fmt.Fprintf(b, "%s %s permit %s %d\n", list, p.name, prefix.Addr(), prefix.Bits())
		}
	}
	fmt.Fprintf(b, "route-policy %s permit node 10\n if-match %s\n", p.name, condition)
	if p.tags() {
		fmt.Fprintf(b, " apply tag %d\n", p.tag)
	}
	b.WriteString(" quit\n")
}

func huaweiVRPInto(b *strings.Builder, p passage) {
	p.routePolicy(b, p.version("ip ip-prefix", "ip ipv6-prefix"), p.version("ip-prefix", "ipv6 address prefix-list"))
	pass := "import-route static route-policy " + p.name
	switch p.Protocol {
	case "ospf":
		block(b, " quit", join(p.version("ospf", "ospfv3"), p.Instance, p.in("vpn-instance")), pass)
	case "isis":
		block(b, " quit", "isis "+p.Instance, p.version("", "ipv6 ")+pass)
	case "bgp":
		view := p.version("ipv4-family ", "ipv6-family ") + "unicast"
		if p.vrf != "" {
			view = p.version("ipv4-family ", "ipv6-family ") + p.in("vpn-instance")
		}
		block(b, "  quit\n quit", "bgp "+p.Instance, view, pass)
	}
}

func h3cComwareInto(b *strings.Builder, p passage) {
	list := p.version("ip", "ipv6")
	p.routePolicy(b, list+" prefix-list", list+" address prefix-list")
	pass, afi := "import-route static route-policy "+p.name, "address-family "+p.version("ipv4", "ipv6")+" unicast"
	switch p.Protocol {
	case "ospf":
		block(b, " quit", join(p.version("ospf", "ospfv3"), p.Instance, p.in("vpn-instance")), pass)
	case "isis":
		block(b, "  quit\n quit", "isis "+p.Instance, afi, pass)
	case "bgp":
		end := "  quit\n quit"
		if p.vrf != "" {
			end = "   quit\n" + end
		}
		block(b, end, "bgp "+p.Instance, p.in("ip vpn-instance"), afi, pass)
	}
}

// junosInto writes a policy that says nothing of other routes, so that policies after it and the protocol's default go on.
func junosInto(b *strings.Builder, p passage) {
	term := "set policy-options policy-statement " + p.name + " term waymark "
	from := fmt.Sprintf("tag %d", p.tag)
	if p.tag == 0 {
		from = "prefix-list " + p.name
		fmt.Fprintf(b, "delete policy-options prefix-list %s\n", p.name)
		for _, prefix := range p.prefixes {
			fmt.Fprintf(b, "set policy-options prefix-list %s %s\n", p.name, prefix)
		}
	}
	for _, from := range []string{"family " + p.version("inet", "inet6"), "protocol static", from} {
		b.WriteString(term + "from " + from + "\n")
	}
	if p.tags() {
		fmt.Fprintf(b, "%sthen tag %d\n", term, p.tag)
	}
	b.WriteString(term + "then accept\n")
	protocol := p.Protocol
	if protocol == "ospf" && p.ipv6 {
		protocol = "ospf3"
	}
	fmt.Fprintf(b, "%s protocols %s export %s\n", join("set", p.in("routing-instances")), protocol, p.name)
}

// vyosInto writes the list anew, in the same commit. Routes go into level 2 of IS-IS, that of a backbone.
func vyosInto(b *strings.Builder, p passage) {
	list, rule := p.version("prefix-list", "prefix-list6"), "set policy route-map "+p.name+" rule 10 "
	fmt.Fprintf(b, "delete policy %s %s\n", list, p.name)
	for i, prefix := range p.prefixes {
		at := fmt.Sprintf("set policy %s %s rule %d ", list, p.name, i+1)
		fmt.Fprintf(b, "%saction permit\n%sprefix %s\n", at, at, prefix)
	}
	fmt.Fprintf(b, "%saction permit\n%smatch %s address prefix-list %s\n", rule, rule, p.version("ip", "ipv6"), p.name)
	at := join("set", p.in("vrf name"), "protocols", p.version(p.Protocol, strings.Replace(p.Protocol, "ospf", "ospfv3", 1)))
	switch p.Protocol {
	case "ospf":
		at += " redistribute static"
	case "isis":
		at += " redistribute " + p.version("ipv4", "ipv6") + " static level-2"
	case "bgp":
		at += " address-family " + p.version("ipv4", "ipv6") + "-unicast redistribute static"
	}
	fmt.Fprintf(b, "%s route-map %s\n", at, p.name)
}

// mikrotikInto finds the instance of OSPF by version and VRF. Rules are taken in their order, so the chain is written anew.
func mikrotikInto(b *strings.Builder, p passage) {
	fmt.Fprintf(b, "/routing filter rule remove [find chain=%s]\n", p.name)
	for _, prefix := range p.prefixes {
		fmt.Fprintf(b, "/routing filter rule add chain=%s rule=\"if (protocol static && dst == %s) { accept }\"\n", p.name, prefix)
	}
	vrf := p.vrf
	if vrf == "" {
		vrf = "main"
	}
	fmt.Fprintf(b, "/routing filter rule add chain=%s rule=\"reject\"\n", p.name)
	b.WriteString("# what the instance redistributes already is to stand beside static, and needs rules before the last one\n")
	fmt.Fprintf(b, "/routing ospf instance set [find version=%s vrf=%s] redistribute=static out-filter-chain=%s\n", p.version("2", "3"), vrf, p.name)
}

// birdInto writes a filter for the channel of a protocol. It needs no list: the routes are those of the protocol that was
// exported with them.
func birdInto(b *strings.Builder, p passage) {
	name, channel := birdName(p.vrf, p.ipv6), p.version("ipv4", "ipv6")
	table := ""
	if p.vrf != "" {
		table = " table " + name + "_table;"
	}
	protocol := p.Protocol
	if protocol == "ospf" {
		protocol += p.version(" v2", " v3")
	}
	fmt.Fprintf(b, "# protocol %s { %s {%s export filter redistribute_%s; }; }\n", protocol, channel, table, name)
	fmt.Fprintf(b, "filter redistribute_%s {\n\tif proto = \"%[1]s\" then accept;\n\treject;\n}\n", name)
}
