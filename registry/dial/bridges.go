package dial

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/registry"
)

// bridgeNames begin the names of devices that containers are behind. Those of CNI plugins are not among them: PodCIDRs say more.
var bridgeNames = []string{"docker", "br-", "podman", "cni-podman", "nerdctl", "virbr", "lxcbr", "lxdbr"}

// Bridges are networks of containers on this host: what answers there is nobody that other hosts reach.
func Bridges() []registry.Bridge {
	var list []registry.Bridge
	devices, _ := net.Interfaces() // without them less is known
	for _, d := range devices {
		if !slices.ContainsFunc(bridgeNames, func(begin string) bool { return strings.HasPrefix(d.Name, begin) }) {
			continue
		}
		addresses, _ := d.Addrs()
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				list = append(list, registry.Bridge{Prefix: p.Masked(), Name: d.Name, Seen: true})
			}
		}
	}
	return list
}
