package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/nat"
)

const (
	countEvery = 30 * time.Second
	countTime  = 20 * time.Second // after which a count is given up

	// nearPorts is how many percent of the ports toward one destination may be in use before that is a problem; it is none
	// any more below farPorts.
	nearPorts = 80
	farPorts  = 70
)

// PortUse is how the ports of an egress address are used on a gateway.
type PortUse struct {
	nat.PortUse
	Policies []string `json:"policies"`
	Ports    int      `json:"ports"` // that this node gives out, for each destination and protocol
	// Near are the destinations, as "tcp 203.0.113.9:443", toward which the ports are about to run out.
	Near []string `json:"near,omitempty"`
}

// PortCounter counts from time to time the connections that leave this node with egress addresses.
type PortCounter struct {
	Agent *Agent
	// Usage counts the connections whose source is translated to one of the addresses, in their order.
	Usage func(ctx context.Context, addresses []netip.Addr) ([]nat.PortUse, error)
}

// Run counts until ctx ends. It asks the kernel nothing while the node is no gateway.
func (c *PortCounter) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(countEvery):
		}
		if err := c.count(ctx); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			c.Agent.Log.Warn("ports of egress addresses", "err", err)
		}
	}
}

func (c *PortCounter) count(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	s := c.Agent.Status()
	var addresses []netip.Addr
	var uses []PortUse
	for _, e := range s.Egress {
		if e.Ports > 0 && e.Address.IsValid() {
			addresses = append(addresses, e.Address)
			uses = append(uses, PortUse{Policies: e.Policies, Ports: e.Ports})
		}
	}
	if len(addresses) > 0 {
		counted, err := c.Usage(ctx, addresses)
		if err != nil {
			return err
		}
		for i := range uses {
			uses[i].PortUse = counted[i]
			uses[i].near(s.Ports)
		}
	}
	c.Agent.counted(uses)
	return nil
}

// near finds the destinations that have few ports left; before is what the last count has found.
func (u *PortUse) near(before []PortUse) {
	i := slices.IndexFunc(before, func(b PortUse) bool { return b.Address == u.Address })
	for _, d := range u.Busiest {
		limit := nearPorts
		if i >= 0 && slices.Contains(before[i].Near, d.String()) {
			limit = farPorts
		}
		if 100*d.Connections >= limit*u.Ports {
			u.Near = append(u.Near, d.String())
		}
	}
	slices.Sort(u.Near)
}

// counted publishes a count.
func (a *Agent) counted(uses []PortUse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range uses {
		i := slices.IndexFunc(a.status.Ports, func(b PortUse) bool { return b.Address == u.Address })
		if len(u.Near) > 0 && (i < 0 || !slices.Equal(a.status.Ports[i].Near, u.Near)) {
			a.Log.Warn("ports of an egress address are about to run out", "address", u.Address, "destinations", u.Near,
				"used", u.Busiest[0].Connections, "of", u.Ports)
		}
	}
	a.status.Ports = uses
}

// problems are those of the policies that the address is of. They do not change with every count.
func (u *PortUse) problems() []Problem {
	var problems []Problem
	for _, policy := range u.Policies {
		if len(u.Near) > 0 {
			problems = append(problems, Problem{Object: "EgressPolicy/" + policy, Reason: "PortsNearLimit", Message: fmt.Sprintf(
				"%s has few of its %d ports left toward %s: without one new connections fail; give the policy more addresses",
				u.Address, u.Ports, strings.Join(u.Near, ", "))})
		}
	}
	return problems
}
