package e2e

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestRegistryConnectionLimit: ZooKeeper admits five connections of one address. Where nodes masquerade, the sixth pod of each
// is refused, which the doctor sees coming. With Waymark all 50 come in: those that were refused without doing anything, those
// that were in with the address of the node when they come anew.
func TestRegistryConnectionLimit(t *testing.T) {
	const limit, pods = 5, 25
	l := NewRegistryLab(t, pods, fmt.Sprintf("maxClientCnxns=%d", limit))
	masqueraded := map[string]int{}
	var clients []*zk.Conn
	for _, n := range l.Nodes {
		masqueraded[n.Address] = limit
		for i, p := range n.Pods {
			if i == limit-1 {
				l.doctor(t, l.Consumer, checkZooKeeper, true, "LimitNear: "+n.Address+", node "+n.Name)
			}
			c := session(t, p.NS)
			if i < limit { // one after the other: of connections at the same moment ZooKeeper admits more
				nettest.Eventually(t, 10*time.Second, func() error { return admitted(c) })
			}
			clients = append(clients, c)
		}
	}
	for range 3 { // seconds, in each of which those that are refused try again
		time.Sleep(time.Second)
		if err := l.has(masqueraded); err != nil {
			t.Error(err)
		}
	}
	refused := 0
	for _, c := range clients {
		if admitted(c) != nil {
			refused++
		}
	}
	if want := len(clients) - limit*len(l.Nodes); refused != want {
		t.Errorf("%d pods are refused, want %d", refused, want)
	}
	l.doctor(t, l.Consumer, checkZooKeeper, true,
		"LimitReached: 198.18.1.1, node n1, .* has refused [0-9]+ ", "LimitReached: 198.18.1.2, node n2, .* has refused [0-9]+ ", "n1 has 25 pods .* refused now")

	l.StartAgents(t)
	for _, c := range clients {
		nettest.Eventually(t, 20*time.Second, func() error { return admitted(c) })
	}
	seen := maps.Clone(masqueraded) // connections from before keep their source
	for _, n := range l.Nodes {
		for _, p := range n.Pods[limit:] {
			seen[p.Address] = 1
		}
	}
	if err := l.has(seen); err != nil {
		t.Error(err)
	}
	for i, c := range clients {
		c.Close()
		clients[i] = session(t, l.Nodes[i/pods].Pods[i%pods].NS)
	}
	for _, n := range l.Nodes {
		delete(seen, n.Address)
		for _, p := range n.Pods {
			seen[p.Address] = 1
		}
	}
	nettest.Eventually(t, 20*time.Second, func() error { return l.has(seen) })
	l.doctor(t, l.Consumer, checkZooKeeper, false, "n1 has 25 pods .* 20 of these pods would be refused")
}

// admitted says why a client has no session.
func admitted(c *zk.Conn) error {
	if state := c.State(); state != zk.StateHasSession {
		return fmt.Errorf("a client of ZooKeeper has no session: %v", state)
	}
	return nil
}
