package export

import (
	"strconv"
	"strings"
)

// routeStatic begins what VRP and Comware have in common: "ip route-static [vpn-instance V] NETWORK MASK NEXTHOP". IPv6 has the
// length in place of the mask.
func routeStatic(b *strings.Builder, r Route) {
	b.WriteString(family(r, "ip", "ipv6") + " route-static")
	text(b, "vpn-instance", r.VRF)
	words(b, r.Prefix.Addr().String())
	if r.NextHop.Is4() {
		words(b, mask(r.Prefix))
	} else {
		words(b, strconv.Itoa(r.Prefix.Bits()))
	}
	words(b, r.NextHop.String())
}

// huaweiVRP goes on with "[preference P] [tag T] [bfd enable] [description N]". The session's local address is set apart:
// "ip route-static bfd NEXTHOP local-address ADDRESS".
func huaweiVRP(b *strings.Builder, r Route) {
	routeStatic(b, r)
	number(b, "preference", r.Preference)
	number(b, "tag", r.Tag)
	if r.BFD {
		words(b, "bfd enable")
	}
	text(b, "description", r.Name)
	b.WriteByte('\n')
}

// h3cComware goes on with "[bfd control-packet bfd-source ADDRESS | track O] [preference P] [tag T] [description N]".
func h3cComware(b *strings.Builder, r Route) {
	routeStatic(b, r)
	if r.BFD {
		words(b, "bfd control-packet bfd-source", r.Source.String())
	}
	number(b, "track", r.Track)
	number(b, "preference", r.Preference)
	number(b, "tag", r.Tag)
	text(b, "description", r.Name)
	b.WriteByte('\n')
}
