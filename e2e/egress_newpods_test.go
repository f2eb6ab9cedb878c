package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// heard is what the partner hears of new pods.
type heard struct {
	mu      sync.Mutex
	packets map[string]map[string]int // by the pod's name, by source
}

// listen begins at an address of the partner. Everything is answered, so that the kernel takes it for a connection.
func (h *heard) listen(t testing.TB, ns nettest.NS, address string) {
	t.Helper()
	conn, err := nattest.Inside(ns, func() (net.PacketConn, error) { return net.ListenPacket("udp", net.JoinHostPort(address, newPodPort)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buffer := make([]byte, 64); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			h.note(string(buffer[:n]), netip.MustParseAddrPort(from.String()).Addr().Unmap().String())
			_, _ = conn.WriteTo(buffer[:n], from)
		}
	}()
}

func (h *heard) note(pod, source string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.packets[pod] == nil {
		h.packets[pod] = map[string]int{}
	}
	h.packets[pod][source]++
}

const newPodPort = "7001"

// newPod is a pod in the network namespace of a node's pod, with addresses of its own.
type newPod struct {
	name     string
	selected bool
	addrs    [2]string // IPv4, IPv6
	stop     chan struct{}
}

func (p *newPod) labels() string {
	if p.selected {
		return "app: bank"
	}
	return "app: other"
}

// send sends from the moment that the address is there, first fast, then slowly.
func (p *newPod) send(t testing.TB, ns nettest.NS, from, to string) {
	conn, err := nattest.Inside(ns, func() (net.Conn, error) {
		dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(net.JoinHostPort(from, newPodPort)))}
		return dialer.Dial("udp", net.JoinHostPort(to, newPodPort))
	})
	if err != nil {
		t.Error(err)
		return
	}
	go func() {
		defer conn.Close()
		pause := 2 * time.Millisecond
		for {
			_, _ = fmt.Fprint(conn, p.name)
			select {
			case <-p.stop:
				return
			case <-time.After(pause):
				pause = min(pause*5/4, 50*time.Millisecond)
			}
		}
	}()
}

// newPods starts 200 pods in a row, half of them selected, which send as soon as they have an address: a second before their
// status tells it. Then others get the addresses of some of them, and send from the same ports.
func newPods(t *testing.T, c *EgressCluster) {
	address4, address6 := c.addresses(t)
	n := c.Node(t, "n1")
	h := &heard{packets: map[string]map[string]int{}}
	h.listen(t, c.Partner, egresslab.Partner4)
	h.listen(t, c.Partner, egresslab.Partner6)
	network4, network6 := strings.TrimSuffix(n.Pod4, "2"), strings.TrimSuffix(n.Pod6, "2")
	generation := func(name string, count int, selected func(i int) bool) (pods []*newPod) {
		var objects strings.Builder
		for i := range count {
			p := &newPod{name: fmt.Sprintf("%s-%d", name, i), selected: selected(i), stop: make(chan struct{}),
				addrs: [2]string{fmt.Sprint(network4, 10+i), fmt.Sprintf("%s1:%x", network6, 10+i)}}
			objects.WriteString(podObject(n.Name, "pay", p.name, p.labels()+", generation: "+name))
			pods = append(pods, p)
		}
		c.Apply(t, objects.String())
		return pods
	}
	start := func(pods []*newPod) {
		const together = 20
		var told sync.WaitGroup
		for len(pods) > 0 {
			batch := pods[:min(together, len(pods))]
			pods = pods[len(batch):]
			for _, p := range batch {
				n.Pod.Run(t, "sh", "-c", fmt.Sprintf("ip addr replace %s/32 dev eth0 && ip addr replace %s/128 dev eth0 nodad", p.addrs[0], p.addrs[1]))
				p.send(t, n.Pod, p.addrs[0], egresslab.Partner4)
				p.send(t, n.Pod, p.addrs[1], egresslab.Partner6)
			}
			told.Go(func() {
				time.Sleep(time.Second)
				c.tellAddresses(t, batch)
			})
		}
		told.Wait()
	}
	arrive := func(pods []*newPod) {
		t.Helper()
		nettest.Eventually(t, 20*time.Second, func() error {
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, p := range pods {
				want := []string{n.Address, n.Address6}
				if p.selected {
					want = []string{address4, address6}
				}
				for _, source := range want {
					if h.packets[p.name][source] < 3 {
						return fmt.Errorf("%s, selected %v, is heard as %v, want %v", p.name, p.selected, h.packets[p.name], want)
					}
				}
			}
			return nil
		})
		wrong := 0
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, p := range pods {
			for source, packets := range h.packets[p.name] {
				if p.selected != (source == address4 || source == address6) {
					wrong += packets
					t.Errorf("%s, selected %v, was heard %d times as %s", p.name, p.selected, packets, source)
				}
			}
		}
		t.Logf("%d pods, %d packets with a wrong source", len(pods), wrong)
	}
	end := func(pods []*newPod) {
		for _, p := range pods {
			close(p.stop)
		}
	}
	first := generation("first", 200, func(i int) bool { return i%2 == 0 })
	start(first)
	arrive(first)
	end(first)
	second := generation("second", 40, func(i int) bool { return i%2 == 1 })
	c.must(t, "delete", "--raw", "/api/v1/namespaces/pay/pods?labelSelector=generation%3Dfirst")
	time.Sleep(500 * time.Millisecond) // less than it takes to make a pod's sandbox
	start(second)
	arrive(second)
	end(second)
	c.must(t, "delete", "--raw", "/api/v1/namespaces/pay/pods?labelSelector=generation%3Dsecond")
	for _, p := range first {
		n.Pod.Run(t, "sh", "-c", fmt.Sprintf("ip addr del %s/32 dev eth0; ip addr del %s/128 dev eth0", p.addrs[0], p.addrs[1]))
	}
}

// tellAddresses writes the addresses of pods into their status, as the kubelet does when they run.
func (c *EgressCluster) tellAddresses(t testing.TB, pods []*newPod) {
	var text strings.Builder
	for _, p := range pods {
		fmt.Fprintf(&text, `---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: pay}
status: {phase: Running, podIP: %s, podIPs: [{ip: %s}, {ip: "%s"}]}
`, p.name, p.addrs[0], p.addrs[0], p.addrs[1])
	}
	if _, err := c.KubectlAs(c.Admin, text.String(), "apply", "--server-side", "--subresource=status", "-f", "-"); err != nil {
		t.Error(err)
	}
}
