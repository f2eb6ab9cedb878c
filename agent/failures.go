package agent

import (
	"net/netip"

	"github.com/waymark-bgp/waymark/bfd"
)

// failures counts the path failures that BFD reports, over restarts of the BFD process, whose own counters start again.
type failures struct {
	byPeer   map[netip.Addr]uint64
	instance string
	seen     map[netip.Addr]uint64
}

func (f *failures) observe(paths Paths) {
	report, instance, connected := paths.States()
	if !connected {
		return
	}
	if instance != f.instance || f.seen == nil {
		f.instance, f.seen = instance, map[netip.Addr]uint64{}
	}
	counted := make(map[netip.Addr]uint64, len(report.Sessions))
	for _, s := range report.Sessions {
		peer := peerOf(s)
		counted[peer] = f.byPeer[peer] + growth(f.seen, s)
		f.seen[peer] = s.Failures
	}
	for peer, n := range f.byPeer {
		if _, ok := counted[peer]; !ok {
			counted[peer] = n
		}
	}
	f.byPeer = counted
}

// peerOf is the address by which BGP knows the peer of a session: BFD keeps the zone of a link-local one apart.
func peerOf(s bfd.Status) netip.Addr {
	if s.Peer.IsLinkLocalUnicast() {
		return s.Peer.WithZone(s.Interface)
	}
	return s.Peer
}

// growth is how many failures are new. What a process had counted before we first heard of it is old news.
func growth(seen map[netip.Addr]uint64, s bfd.Status) uint64 {
	before, known := seen[peerOf(s)]
	if !known || s.Failures < before {
		return 0
	}
	return s.Failures - before
}
