package export

import "strings"

// ciscoIOS writes for IOS and IOS XE: "ip route [vrf V] NETWORK MASK NEXTHOP [DISTANCE] [tag T] [name N] [track O]". Its BFD
// wants an interface (ip route static bfd).
func ciscoIOS(b *strings.Builder, r Route) {
	b.WriteString(family(r, "ip route", "ipv6 route"))
	text(b, "vrf", r.VRF)
	if r.NextHop.Is4() {
		words(b, r.Prefix.Addr().String(), mask(r.Prefix))
	} else {
		words(b, r.Prefix.String())
	}
	words(b, r.NextHop.String())
	number(b, "", r.Preference)
	number(b, "tag", r.Tag)
	text(b, "name", r.Name)
	number(b, "track", r.Track)
	b.WriteByte('\n')
}

// ciscoIOSXR writes blocks of router static.
func ciscoIOSXR(b *strings.Builder, routes []Route) {
	for i, r := range routes {
		afi := "address-family " + family(r, "ipv4", "ipv6") + " unicast"
		indent := " "
		if i == 0 {
			b.WriteString("router static\n")
		}
		newVRF := i == 0 || routes[i-1].VRF != r.VRF
		if r.VRF != "" {
			indent = "  "
			if newVRF {
				b.WriteString(" vrf " + r.VRF + "\n")
			}
		}
		if newVRF || routes[i-1].NextHop.Is4() != r.NextHop.Is4() {
			b.WriteString(indent + afi + "\n")
		}
		b.WriteString(indent)
		words(b, r.Prefix.String(), r.NextHop.String())
		if r.BFD {
			words(b, "bfd fast-detect")
		}
		number(b, "", r.Preference)
		number(b, "tag", r.Tag)
		text(b, "description", r.Name)
		b.WriteByte('\n')
		if last := i+1 == len(routes); last || routes[i+1].VRF != r.VRF || routes[i+1].NextHop.Is4() != r.NextHop.Is4() {
			b.WriteString(indent + "!\n")
			if r.VRF != "" && (last || routes[i+1].VRF != r.VRF) {
				b.WriteString(" !\n")
			}
			if last {
				b.WriteString("!\n")
			}
		}
	}
}

// ciscoNXOS writes "ip route PREFIX NEXTHOP [track O] [name N] [tag T] [PREFERENCE]", those of a VRF in its context. Its BFD wants
// an interface (ip route static bfd).
func ciscoNXOS(b *strings.Builder, routes []Route) {
	for i, r := range routes {
		if r.VRF != "" && (i == 0 || routes[i-1].VRF != r.VRF) {
			b.WriteString("vrf context " + r.VRF + "\n")
		}
		if r.VRF != "" {
			b.WriteString("  ")
		}
		b.WriteString(family(r, "ip route", "ipv6 route"))
		words(b, r.Prefix.String(), r.NextHop.String())
		number(b, "track", r.Track)
		text(b, "name", r.Name)
		number(b, "tag", r.Tag)
		number(b, "", r.Preference)
		b.WriteByte('\n')
		if r.VRF != "" && (i+1 == len(routes) || routes[i+1].VRF != r.VRF) {
			b.WriteString("exit\n")
		}
	}
}

// aristaEOS writes "ip route [vrf V] PREFIX NEXTHOP [track bfd] [DISTANCE] [tag T] [name N]".
func aristaEOS(b *strings.Builder, r Route) {
	b.WriteString(family(r, "ip route", "ipv6 route"))
	text(b, "vrf", r.VRF)
	words(b, r.Prefix.String(), r.NextHop.String())
	if r.BFD {
		words(b, "track bfd")
	}
	number(b, "", r.Preference)
	number(b, "tag", r.Tag)
	text(b, "name", r.Name)
	b.WriteByte('\n')
}
