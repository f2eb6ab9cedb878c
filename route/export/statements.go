package export

import (
	"fmt"
	"strings"
)

// junos writes set commands. A route has no description there, and a comment by annotate would be lost in "show | display set":
// the name stands in a comment of the text.
func junos(b *strings.Builder, r Route) {
	at := junosPath(r)
	if r.Name != "" {
		b.WriteString("# " + r.Name + "\n")
	}
	fmt.Fprintf(b, "set %s next-hop %s\n", at, r.NextHop)
	if r.Preference != 0 {
		fmt.Fprintf(b, "set %s preference %d\n", at, r.Preference)
	}
	if r.Tag != 0 {
		fmt.Fprintf(b, "set %s tag %d\n", at, r.Tag)
	}
	if r.BFD {
		// Without an interval it is refused. This is the one that nodes have unless configured otherwise.
		fmt.Fprintf(b, "set %s bfd-liveness-detection minimum-interval 300\n", at)
	}
}

// junosPath is where a route stands.
func junosPath(r Route) string {
	at := "routing-options "
	if r.VRF != "" {
		at = "routing-instances " + r.VRF + " routing-options "
	}
	if r.Prefix.Addr().Is6() {
		at += "rib " + strings.TrimPrefix(r.VRF+".inet6.0", ".") + " "
	}
	return at + "static route " + r.Prefix.String()
}

// vyos writes set commands of VyOS 1.4 and later. Only blackhole routes have a tag there.
func vyos(b *strings.Builder, r Route) {
	at := vyosPath(r)
	hop := at + " next-hop " + r.NextHop.String()
	if r.Name != "" {
		fmt.Fprintf(b, "set %s description '%s'\n", at, r.Name)
	}
	fmt.Fprintf(b, "set %s\n", hop)
	if r.Preference != 0 {
		fmt.Fprintf(b, "set %s distance %d\n", hop, r.Preference)
	}
	if r.BFD {
		fmt.Fprintf(b, "set %s bfd\n", hop)
	}
}

// vyosPath is where a route stands.
func vyosPath(r Route) string {
	at := "protocols static " + family(r, "route", "route6") + " " + r.Prefix.String()
	if r.VRF != "" {
		at = "vrf name " + r.VRF + " " + at
	}
	return at
}

// mikrotik writes commands of RouterOS 7. Static routes have no tag there.
func mikrotik(b *strings.Builder, r Route) {
	hop := r.NextHop.String()
	if r.VRF != "" {
		hop += "@" + r.VRF
	}
	fmt.Fprintf(b, "%s add dst-address=%s gateway=%s", family(r, "/ip route", "/ipv6 route"), r.Prefix, hop)
	if r.VRF != "" {
		b.WriteString(" routing-table=" + r.VRF)
	}
	if r.Preference != 0 {
		fmt.Fprintf(b, " distance=%d", r.Preference)
	}
	if r.BFD {
		b.WriteString(" check-gateway=bfd")
	}
	if r.Name != "" {
		fmt.Fprintf(b, " comment=\"%s\"", r.Name)
	}
	b.WriteByte('\n')
}
