package egresslab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Neighbours watches who answers for addresses on the network of n1 and n2, asked by the router.
type Neighbours struct {
	router nettest.NS
	dump   *nettest.Process
}

// WatchNeighbours begins to.
func (l *Lab) WatchNeighbours(t testing.TB) *Neighbours {
	t.Helper()
	n := &Neighbours{l.Router, l.Router.Start(t, "tcpdump", "-elvni", "lan1", "arp[6:2] == 2 or icmp6[icmp6type] == icmp6-neighboradvert")}
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(n.dump.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", n.dump.Output())
		}
		return nil
	})
	return n
}

// Ask makes the router ask who has an address, and returns the MACs that answered.
func (n *Neighbours) Ask(t testing.TB, address string) []string {
	t.Helper()
	before := len(n.dump.Output())
	_, _ = n.router.Try("ip", "neigh", "del", address, "dev", "lan1")
	_, _ = n.router.Try("ping", "-c1", "-W0.3", address)
	var macs []string
	// Of IPv6 the header is in the line before, with the target in one of its own.
	for _, packet := range strings.Split(n.dump.Output()[before:], "ethertype ")[1:] {
		if !strings.Contains(packet, address+" is-at") && !strings.Contains(packet, "tgt is "+address) && !strings.Contains(packet, "tgt is "+address+",") {
			continue
		}
		if match := linkAddress.FindStringSubmatch(packet); match != nil && !slices.Contains(macs, match[1]) {
			macs = append(macs, match[1])
		}
	}
	return macs
}

var linkAddress = regexp.MustCompile(`(?:is-at|link-address option \(2\), length 8 \(1\):) ([0-9a-f:]{17})`)
