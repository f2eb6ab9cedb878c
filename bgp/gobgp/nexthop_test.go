package gobgp

import (
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestNoNextHopIsToldWhenItMatters: on a link without IPv6 nothing is wrong until there is something to announce in it.
func TestNoNextHopIsToldWhenItMatters(t *testing.T) {
	router := nettest.New(t, "router")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24"}, router, "eth0", []string{"192.0.2.2/24"})
	c := speakerConfig()
	both := c.Announce
	c.Announce = both[:1]
	s, log := speakWithLog(t, c)
	for _, warnings := range []int{0, 1, 1} {
		c.Announce = both[:1+warnings]
		apply(t, s, c)
		if err := log.has(warnings, "has no address to be the next hop of a family")(); err != nil {
			t.Errorf("announcing %v: %v", c.Announce, err)
		}
	}
}
