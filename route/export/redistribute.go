package export

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Redistribution is a routing protocol that a router passes static routes on to.
type Redistribution struct {
	Protocol string // ospf (OSPFv3 for IPv6), isis, eigrp or bgp
	Instance string // process, tag or AS; "": the dialect's usual one
}

// ParseRedistribution reads ospf[:PROCESS], isis[:TAG], eigrp:AS or bgp:AS.
func ParseRedistribution(text string) (Redistribution, error) {
	var into Redistribution
	var named bool
	into.Protocol, into.Instance, named = strings.Cut(text, ":")
	most := 0
	switch into.Protocol {
	case "ospf", "isis":
	case "eigrp":
		most = 16
	case "bgp":
		most = 32
	default:
		return into, fmt.Errorf("no protocol %q: want ospf[:PROCESS], isis[:TAG], eigrp:AS or bgp:AS", text)
	}
	if n, err := strconv.ParseUint(into.Instance, 10, most); most > 0 && (err != nil || n == 0) {
		return into, fmt.Errorf("%q: want %s:AS with the number of an AS", text, into.Protocol)
	}
	if named && (into.Instance == "" || into.Instance != clean(into.Instance, 20)) {
		return into, fmt.Errorf("%q: a process or tag has 1 to 20 letters, digits and . _ -, letters and digits first", text)
	}
	return into, nil
}

// redistributor is how a dialect has it. Its statics pass through a filter that matches these routes only: their tag where they
// have one, so that it stays the same while nodes come and go, else the exact prefixes.
type redistributor struct {
	protocols []string
	// What the dialect calls OSPF and IS-IS if nobody says: "" has no name, "!" must be told, and "-" cannot be told.
	ospf, isis string
	number     []string // protocols whose process must be a number
	write      func(b *strings.Builder, p passage)
}

// passage is the routes of one VRF and family, and where they go.
type passage struct {
	Redistribution
	vrf      string
	ipv6     bool
	tag      uint32
	prefixes []netip.Prefix
	name     string // of the filters
}

var (
	withEIGRP = []string{"ospf", "isis", "eigrp", "bgp"}
	noEIGRP   = []string{"ospf", "isis", "bgp"}
	both      = []string{"ospf", "isis"}
)

var redistributors = map[string]redistributor{
	"cisco-ios":     {withEIGRP, "1", "", []string{"ospf"}, ciscoIOSInto},
	"cisco-iosxr":   {withEIGRP, "1", "!", nil, ciscoIOSXRInto},
	"cisco-nxos":    {withEIGRP, "1", "!", nil, ciscoNXOSInto},
	"arista-eos":    {noEIGRP, "1", "!", []string{"ospf"}, aristaEOSInto},
	"huawei-vrp":    {noEIGRP, "1", "1", both, huaweiVRPInto},
	"h3c-comware":   {noEIGRP, "1", "1", both, h3cComwareInto},
	"juniper-junos": {noEIGRP, "-", "-", nil, junosInto},
	"mikrotik":      {[]string{"ospf"}, "-", "-", nil, mikrotikInto},
	"vyos":          {noEIGRP, "-", "-", nil, vyosInto},
	"frr":           {noEIGRP, "-", "!", nil, frrInto},
	"bird":          {[]string{"ospf", "bgp"}, "-", "-", nil, birdInto},
}

// Redistribute writes what a router that has these routes needs to pass exactly them on, and no other static route. It tells
// them by their tag if all have the same; else by their prefixes, and must be written anew when those change. What the protocol
// needs besides is taken to be there.
func Redistribute(dialectName string, routes []Route, into Redistribution) (string, error) {
	d, err := lookUp(dialectName)
	if err != nil {
		return "", err
	}
	r, err := into.by(dialectName)
	if err != nil {
		return "", err
	}
	sorted := slices.Clone(routes)
	slices.SortFunc(sorted, Route.Compare)
	var passages []passage
	for i := range sorted {
		one := &sorted[i]
		if err := d.check(one); err != nil {
			return "", fmt.Errorf("route to %s through %s in %s: %w", one.Prefix, one.NextHop, dialectName, err)
		}
		if one.VRF != "" && (into.Protocol == "isis" || into.Protocol == "eigrp") {
			return "", fmt.Errorf("redistribution of VRF %s into %s: only into ospf or bgp", one.VRF, into.Protocol)
		}
		last := len(passages) - 1
		if last < 0 || passages[last].vrf != one.VRF || passages[last].ipv6 != one.NextHop.Is6() {
			passages = append(passages, passage{Redistribution: into, vrf: one.VRF, ipv6: one.NextHop.Is6(), tag: one.Tag})
			last++
		}
		p := &passages[last]
		if p.tag != one.Tag {
			p.tag = 0
		}
		p.prefixes = append(p.prefixes, one.Prefix)
	}
	var b strings.Builder
	for _, p := range passages {
		p.prefixes = slices.Compact(p.prefixes)
		p.name = p.filter()
		if p.Instance == "" && p.Protocol == "ospf" {
			p.Instance = strings.Trim(r.ospf, "-")
		} else if p.Instance == "" && p.Protocol == "isis" {
			p.Instance = strings.Trim(r.isis, "-")
		}
		r.write(&b, p)
	}
	return b.String(), nil
}

// by is how a dialect redistributes into it.
func (into Redistribution) by(dialectName string) (redistributor, error) {
	r, ok := redistributors[dialectName]
	if !ok {
		return r, fmt.Errorf("%s has no routing protocols of its own: redistribute by the dialect of the daemon, as frr or bird", dialectName)
	}
	if !slices.Contains(r.protocols, into.Protocol) {
		return r, fmt.Errorf("%s has no redistribution into %s with a filter; it has %s", dialectName, into.Protocol, strings.Join(r.protocols, ", "))
	}
	usual := map[string]string{"ospf": r.ospf, "isis": r.isis}[into.Protocol]
	_, err := strconv.ParseUint(into.Instance, 10, 16)
	switch {
	case usual == "!" && into.Instance == "":
		return r, fmt.Errorf("%s must be told which %s: %s:TAG", dialectName, into.Protocol, into.Protocol)
	case usual == "-" && into.Instance != "":
		return r, fmt.Errorf("%s has no processes to name: %s alone", dialectName, into.Protocol)
	case into.Instance != "" && slices.Contains(r.number, into.Protocol) && (err != nil || into.Instance == "0"):
		return r, fmt.Errorf("%s:%s: a process is a number in 1..65535 there", into.Protocol, into.Instance)
	}
	return r, nil
}

// filter is the name of the filters, the same for the same VRF and family. It fits into the 40 characters that VRP has for it.
// One that matches a tag has another, so that what it has replaced does not stay in it.
func (p *passage) filter() string {
	name := "WAYMARK"
	if p.tag != 0 {
		name = "WAYTAG"
	}
	name += p.version("", "6")
	if p.vrf != "" {
		name += "-" + p.vrf
	}
	return name
}

// version is one word for IPv4 and another for IPv6.
func (p *passage) version(v4, v6 string) string {
	if p.ipv6 {
		return v6
	}
	return v4
}

// tags says whether the protocol's routes are to bear the tag, too. BGP has communities.
func (p *passage) tags() bool { return p.tag != 0 && p.Protocol != "bgp" }
