// Package host sends the probes of package probe from this machine, and asks its kernel where packets go. It needs no rights:
// the messages of routers come by the error queues of its own UDP sockets, and echo requests are added where it may send them.
package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route/probe"
)

// Prober looks for the way to many subnets.
type Prober struct {
	// Wait for the answers to a probe, and how many Tries each has. Routers limit how many they send: Linux one in a second to
	// each host, after six.
	Wait  time.Duration
	Tries int
	// Parallel is how many subnets are looked at at the same time.
	Parallel int
}

// Default is what does well in most networks.
var Default = Prober{Wait: 500 * time.Millisecond, Tries: 3, Parallel: 64}

// Leave asks the kernel of this machine where it sends what is for the targets; nothing is sent. The findings are in the
// order of the targets.
func Leave(n *probe.Network, targets []probe.Target) ([]probe.Finding, error) {
	k, err := openKernel(n)
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.leave(n, targets), nil
}

// Run sends probes to the targets whose packets go to the gateway, until ctx ends: what has not been looked at then is Untried.
func (p Prober) Run(ctx context.Context, n *probe.Network, targets []probe.Target) ([]probe.Finding, error) {
	k, err := openKernel(n)
	if err != nil {
		return nil, err
	}
	defer k.close()
	findings := k.leave(n, targets)
	near := neighbours(n)
	var group errgroup.Group
	group.SetLimit(p.Parallel)
	for i := range targets {
		if findings[i].Verdict != probe.Sent {
			continue
		}
		group.Go(func() error {
			f, err := p.look(ctx, n, &targets[i], k.device, near)
			findings[i] = f
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return findings, err
	}
	return findings, p.again(ctx, n, targets, findings, k.device, near)
}

const (
	patience = 8                       // subnets of a verdict that are asked for once more
	pause    = 2100 * time.Millisecond // after which Linux says again that it has no route, to somebody whom it has told too often
)

// again asks for some of the subnets that somebody was silent about, one packet at a time: a router that has no way to any of
// them has told so a few times and was silent then. What proves one of them to be right may prove others.
func (p Prober) again(ctx context.Context, n *probe.Network, targets []probe.Target, findings []probe.Finding, device string, near *nearest) error {
	asked := map[probe.Verdict]int{}
	for i := range findings {
		t, f := &targets[i], &findings[i]
		if f.Verdict == probe.Unproven {
			*f = n.Judge(t, f.Address, f.Hops, near.get(t))
		}
		if f.Verdict != probe.Unproven && f.Verdict != probe.Silent {
			continue
		}
		if asked[f.Verdict]++; asked[f.Verdict] > patience {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := p.once(ctx, n, t, f, device, near); err != nil {
			return err
		}
	}
	return nil
}

// once asks for what a finding lacks most: who is before the node, or where packets come to their end.
func (p Prober) once(ctx context.Context, n *probe.Network, t *probe.Target, f *probe.Finding, device string, near *nearest) error {
	w, err := p.open(n, t, f.Address, device)
	if err != nil {
		return err
	}
	defer w.close()
	ttl := furthest
	if f.Verdict == probe.Unproven {
		for _, h := range f.Hops {
			w.hops[h.TTL] = h
		}
		ttl = max(1, f.Hops[len(f.Hops)-1].TTL-1)
	}
	w.near = near.get(t)
	w.round(ctx, ttl, ttl, true)
	found := w.judge()
	if found.Verdict != probe.Silent {
		*f = found
	}
	if found.Verdict == probe.Right {
		near.seen(t, w.end())
	}
	return nil
}

// look tries the addresses of a target one after the other.
func (p Prober) look(ctx context.Context, n *probe.Network, t *probe.Target, device string, near *nearest) (f probe.Finding, err error) {
	untried := probe.Finding{Prefix: t.Prefix, Node: t.Node, Verdict: probe.Untried, Reason: "the time was over"}
	f = untried
	for _, address := range t.Addresses {
		if ctx.Err() != nil {
			return f, nil
		}
		found, err := p.walk(ctx, n, t, address, device, near)
		if err != nil {
			return untried, err
		}
		if found.Verdict == probe.Silent && ctx.Err() != nil {
			return untried, nil // it had not the time to answer
		}
		if found.Verdict != probe.Silent && found.Verdict != probe.Unproven {
			return found, nil
		}
		if f.Verdict == probe.Untried || f.Verdict == probe.Silent {
			f = found
		}
	}
	return f, nil
}

func (p Prober) walk(ctx context.Context, n *probe.Network, t *probe.Target, address netip.Addr, device string, near *nearest) (probe.Finding, error) {
	w, err := p.open(n, t, address, device)
	if err != nil {
		return probe.Finding{}, err
	}
	defer w.close()
	w.near = near.get(t)
	f := w.find(ctx, p.Tries)
	if f.Verdict == probe.Right {
		near.seen(t, w.end())
	}
	return f, nil
}

// open begins a walk, without echo requests where this process may send none.
func (p Prober) open(n *probe.Network, t *probe.Target, address netip.Addr, device string) (*walk, error) {
	udp, err := openUDP(address, device)
	if err != nil {
		return nil, err
	}
	w := &walk{network: n, target: t, address: address, sockets: []*socket{udp}, wait: p.Wait, hops: map[int]probe.Hop{}}
	echo, err := openEcho(address, device)
	switch {
	case err == nil:
		w.sockets = append(w.sockets, echo)
	case !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM):
		w.close()
		return nil, err
	}
	return w, nil
}

// nearest is the least TTL at which the nodes of each network were found to be right. Without knowing the networks it takes a
// /24, and of IPv6 a /64, for one.
type nearest struct {
	networks map[networkOf]netip.Prefix
	mu       sync.Mutex
	ttl      map[netip.Prefix]int
}

type networkOf struct {
	node string
	v6   bool
}

func neighbours(n *probe.Network) *nearest {
	near := &nearest{networks: map[networkOf]netip.Prefix{}, ttl: map[netip.Prefix]int{}}
	for address, node := range n.Nodes {
		bits := 24
		if address.Is6() {
			bits = 64
		}
		prefix, _ := address.Prefix(bits) // it has as many
		of := networkOf{node, address.Is6()}
		if old, found := near.networks[of]; !found || prefix.Compare(old) < 0 { // the same one each time
			near.networks[of] = prefix
		}
	}
	return near
}

func (n *nearest) of(t *probe.Target) netip.Prefix {
	return n.networks[networkOf{t.Node, t.Prefix.Addr().Is6()}]
}

func (n *nearest) get(t *probe.Target) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ttl[n.of(t)]
}

func (n *nearest) seen(t *probe.Target, ttl int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.ttl[n.of(t)]; old == 0 || ttl < old {
		n.ttl[n.of(t)] = ttl
	}
}

// kernel is asked for routes.
type kernel struct {
	handle *netlink.Handle
	device string // that the gateway is at; "": at none of this machine
	index  int
	own    map[string]bool // nodes that this machine is
}

// openKernel also looks where the gateway is. Probes leave by that device: nodes have shorter ways to each other's pods, which
// would tell nothing of the gateway.
func openKernel(n *probe.Network) (*kernel, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for routes: %w", err)
	}
	k := &kernel{handle: handle, own: map[string]bool{}}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		k.close()
		return nil, fmt.Errorf("list the addresses of this machine: %w", err)
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			if node := n.Nodes[prefix.Addr().Unmap()]; node != "" {
				k.own[node] = true
			}
		}
	}
	for _, gateway := range n.Addresses {
		routes, err := handle.RouteGet(gateway.AsSlice())
		if err != nil || len(routes) == 0 || routes[0].Gw != nil || routes[0].Type != unix.RTN_UNICAST {
			continue
		}
		if link, err := net.InterfaceByIndex(routes[0].LinkIndex); err == nil {
			k.device, k.index = link.Name, link.Index
		}
	}
	return k, nil
}

func (k *kernel) close() { k.handle.Close() }

func (k *kernel) leave(n *probe.Network, targets []probe.Target) []probe.Finding {
	findings := make([]probe.Finding, len(targets))
	for i := range targets {
		findings[i] = n.Leave(&targets[i], k.start(&targets[i]))
	}
	return findings
}

func (k *kernel) start(t *probe.Target) probe.Start {
	if k.own[t.Node] {
		return probe.Start{Own: true}
	}
	routes, err := k.handle.RouteGetWithOptions(t.Addresses[0].AsSlice(), &netlink.RouteGetOptions{OifIndex: k.index})
	if err != nil {
		return probe.Start{Error: err.Error()}
	}
	if len(routes) == 0 {
		return probe.Start{Error: "it has no route"}
	}
	s := probe.Start{Own: routes[0].Type == unix.RTN_LOCAL}
	if link, err := net.InterfaceByIndex(routes[0].LinkIndex); err == nil {
		s.Device = link.Name
	}
	switch via, _ := routes[0].Via.(*netlink.Via); {
	case len(routes[0].Gw) > 0:
		s.NextHop, _ = netip.AddrFromSlice(routes[0].Gw)
		s.NextHop = s.NextHop.Unmap()
	case via != nil: // IPv4 through an IPv6 router
		s.NextHop, _ = netip.AddrFromSlice(via.Addr)
	}
	return s
}
