// Package tunnel puts the tunnels to egress gateways into the kernel and keeps them there: VXLAN devices, the rules and
// tables that lead into them, and on a gateway the routes and proxy neighbours of its egress addresses.
//
// What it has made bears route.TunnelProtocol or the name of a tunnel device, so that a later process finds it. Nothing else
// is altered but three sysctls of the network that an owned address lies in; their old values are in a file until they are
// put back.
package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/waymark-bgp/waymark/route"
)

// Kernel is the kernel's tunnels of ours. Its methods may be called by several goroutines.
type Kernel struct {
	sysctls sysctls
	devices atomic.Pointer[map[int]bool] // indexes of ours, when the kernel was read last

	mu        sync.Mutex
	conn      *conn
	applied   bool
	last      route.Tunnels  // what has been applied
	host      *host          // as it was then
	owned     map[proxy]bool // what was answered for then
	announced map[proxy]*announcement
}

// New returns a Kernel that has not touched the kernel yet. It remembers in stateFile what sysctls were before it changed
// them; the file should not outlive the boot. It writes them below sysctlDir, which is /proc/sys/net or shows the same.
func New(stateFile, sysctlDir string) *Kernel {
	return &Kernel{sysctls: sysctls{file: stateFile, dir: sysctlDir}, announced: map[proxy]*announcement{}}
}

// Close gives the sockets back. Tunnels stay.
func (k *Kernel) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.announced {
		a.stop()
	}
	if k.conn != nil {
		k.conn.close()
		k.conn = nil
	}
}

// Underlay finds the device of the node's addresses, and the MTU of tunnels over it; nothing if they are on no
// device.
func (k *Kernel) Underlay(local []netip.Addr) (route.Underlay, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.open(); err != nil {
		return route.Underlay{}, err
	}
	var h *host
	err := retry(func() (err error) {
		h, err = k.conn.host(newState())
		return err
	})
	if err != nil {
		return route.Underlay{}, fmt.Errorf("read the node's addresses: %w", err)
	}
	return h.underlay(local), nil
}

// Apply makes the kernel's tunnels what t says. What an earlier process has left is taken over, or swept. A part that fails
// does not keep the others from being written; a path that fails leads nowhere. If the node's addresses are missing, all
// stays as it is.
func (k *Kernel) Apply(ctx context.Context, t route.Tunnels) (route.TunnelResult, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var result route.TunnelResult
	p, err := k.pass(t)
	if err == nil {
		err = p.run(ctx)
		result.Changed = p.written > 0
		result.Repaired = result.Changed && k.applied && reflect.DeepEqual(t, k.last)
		k.last, k.applied = clone(t), true
		k.host, k.owned = p.host, p.want.proxies
		k.remember(p)
	}
	if err != nil {
		return result, fmt.Errorf("apply tunnels: %w", err)
	}
	return result, nil
}

// remember notes of which devices Watch is to look at neighbours.
func (k *Kernel) remember(p *pass) {
	devices := map[int]bool{}
	for name := range p.want.devices {
		devices[p.host.links[name].index] = true
	}
	k.devices.Store(&devices)
}

// drifted says that Apply with what has been applied last would write something.
func (k *Kernel) drifted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.last.Paths)+len(k.last.Exits) == 0 {
		return false
	}
	p, err := k.pass(k.last)
	return err != nil || !p.done()
}

// silenced says that somebody has taken an address that is answered for.
func (k *Kernel) silenced() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn == nil || len(k.owned) == 0 {
		return false
	}
	have := newState()
	err := k.conn.proxies(k.host, have)
	return err == nil && !same(k.owned, have.proxies)
}

// pass reads the kernel and compares.
func (k *Kernel) pass(t route.Tunnels) (*pass, error) {
	if err := k.open(); err != nil {
		return nil, err
	}
	h, have, err := k.conn.read()
	if err != nil {
		return nil, err
	}
	want, impossible := plan(t, h)
	if want == nil {
		return nil, impossible
	}
	return &pass{Kernel: k, host: h, want: want, have: have, errs: []error{impossible}}, nil
}

// open opens the sockets when they are needed first.
func (k *Kernel) open() (err error) {
	if k.conn == nil {
		if k.conn, err = dial(); err != nil {
			return fmt.Errorf("open netlink sockets: %w", err)
		}
	}
	return nil
}

func clone(t route.Tunnels) route.Tunnels {
	t.Local, t.Gateways = slices.Clone(t.Local), slices.Clone(t.Gateways)
	t.Paths, t.Exits = slices.Clone(t.Paths), slices.Clone(t.Exits)
	return t
}
