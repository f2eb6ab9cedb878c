package zookeeper

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// SeenFrom is SeenAs for a server, HOST:PORT, whose name is resolved here, from a pod that has these addresses: its own is of the
// same IP version as the server's.
func (a Asker) SeenFrom(ctx context.Context, pod Dialer, addresses []netip.Addr, server string) (own, seen netip.Addr, err error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return own, seen, err
	}
	resolving, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	to, err := net.DefaultResolver.LookupNetIP(resolving, "ip", host)
	if err != nil {
		return own, seen, err
	}
	for _, t := range to {
		for _, own := range addresses {
			if own.Is4() == t.Unmap().Is4() {
				seen, err := a.SeenAs(ctx, pod, server, net.JoinHostPort(t.Unmap().String(), port))
				return own, seen, err
			}
		}
	}
	return own, seen, fmt.Errorf("the pod has no address of the IP version of %s", server)
}
