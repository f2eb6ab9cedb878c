package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

// pass compares the desired routes with those we have and makes the difference true: adds and changes first, then removals,
// so that no moment is without a route.
type pass struct {
	*Table
	desired   route.Desired
	result    *route.Result
	changes   []change
	hopFlags  uint8 // for the hops of changes
	wanted    int   // entries of have that are to stay
	surprised bool  // the kernel had a route that we did not know of
}

// change is a route to be added, or to be moved from one set of hops to another.
type change struct {
	key      key
	from, to uint32 // numbers of sets of hops; from 0: add
}

func (p *pass) run(ctx context.Context) error {
	if _, err := p.remove(ctx, p.doubles); err != nil {
		return err
	}
	p.doubles = nil
	p.compare()
	replaced, err := p.write(ctx)
	if err != nil {
		return err
	}
	if _, err := p.remove(ctx, replaced); err != nil {
		return err
	}
	strays, kept := p.superseded()
	unwanted := p.unwanted()
	removed, err := p.remove(ctx, slices.Concat(unwanted, strays))
	p.result.Removed += removed
	if err != nil {
		return err
	}
	for _, r := range unwanted {
		delete(p.have, r.key)
	}
	p.strays = kept
	return nil
}

// compare finds the changes. It does not write yet, so as not to hold up who gives the routes.
func (p *pass) compare() {
	if p.plans == nil || !slices.Equal(p.plans.own, p.desired.Rules.Own) {
		p.plans = newPlans(p.host, p.desired.Rules.Own, &p.sets)
	}
	p.round++
	for prefix, nextHops := range p.desired.Routes {
		if reason := p.desired.Rules.Refuse(prefix); reason != "" {
			p.result.Refuse(prefix, reason)
			continue
		}
		plan := p.plans.of(nextHops)
		if plan.leftOut != "" {
			p.result.Refuse(prefix, plan.leftOut)
		}
		if plan.hops == 0 {
			continue
		}
		if plan.is4 != prefix.Addr().Is4() {
			p.result.Refuse(prefix, "its next hop is of the other address family (RFC 8950), which is not supported")
			continue
		}
		k := keyOf(prefix)
		e := p.have[k]
		if e.hops == plan.hops {
			p.have[k] = entry{hops: e.hops, round: p.round}
			p.wanted++
			continue
		}
		if protocol, taken := p.foreign[k]; taken && e.hops == 0 {
			p.result.Refuse(prefix, occupied(protocol))
			continue
		}
		p.changes = append(p.changes, change{key: k, from: e.hops, to: plan.hops})
	}
}

// write sends the changes and returns what they leave to be removed.
func (p *pass) write(ctx context.Context) (replaced []owned, err error) {
	var unreachable []change
	err = p.conn.write(ctx, len(p.changes), func(b []byte, i int) []byte {
		return p.encode(b, p.changes[i])
	}, func(i int, err error) {
		c := p.changes[i]
		switch {
		case err == nil:
			if left := p.leftBy(c); left != 0 {
				replaced = append(replaced, owned{c.key, p.at, left})
			}
			p.done(c)
		case errors.Is(err, unix.EEXIST):
			p.surprised = true
			p.result.Refuse(c.key.prefix(), "the kernel has a route of another program for this prefix and metric")
		case p.hopFlags == 0 && (errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)):
			unreachable = append(unreachable, c)
		default:
			p.result.Refuse(c.key.prefix(), inWords(err))
		}
	})
	if err != nil || len(unreachable) == 0 {
		return replaced, err
	}
	// The kernel looks for the gateway by its own routes, where a learned host route to the gateway gets in the way, or
	// which do not have it, if another program has put its route there regardless. We know better: route.Host.Hops has
	// found the link.
	p.changes, p.hopFlags = unreachable, unix.RTNH_F_ONLINK
	more, err := p.write(ctx)
	return append(replaced, more...), err
}

func (p *pass) encode(b []byte, c change) []byte {
	hops := p.sets.hops(c.to)
	if c.from == 0 {
		return appendRoute(b, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, p.at.of(c.key), c.key, hops, p.hopFlags)
	}
	if !c.key.is4 {
		// An IPv6 route of several gateways is several routes side by side, so only the new ones are added.
		if hops = p.sets.without(c.to, c.from); len(hops) == 0 {
			return b
		}
	}
	return appendRoute(b, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, p.at.of(c.key), c.key, hops, p.hopFlags)
}

// leftBy is the set of hops that a change leaves to be removed once the new ones are there, 0 if none.
func (p *pass) leftBy(c change) uint32 {
	if c.key.is4 || c.from == 0 {
		return c.from
	}
	gone := p.sets.without(c.from, c.to)
	if len(gone) == 0 {
		return 0
	}
	return p.sets.number(gone)
}

// done notes a change that the kernel has taken.
func (p *pass) done(c change) {
	if p.have[c.key].drifted {
		p.result.Repaired++
	}
	if c.from == 0 {
		p.result.Added++
	} else {
		p.result.Changed++
	}
	p.have[c.key] = entry{hops: c.to, round: p.round}
	p.wanted++
}

// superseded divides the strays into those that are to go and those that are not yet.
func (p *pass) superseded() (gone, kept []owned) {
	if !p.desired.Settling {
		return p.strays, nil
	}
	for _, stray := range p.strays {
		if e, known := p.have[stray.key]; known && !e.inherited {
			gone = append(gone, stray)
		} else {
			kept = append(kept, stray)
		}
	}
	return gone, kept
}

// unwanted forgets the routes that are gone already, and returns those of ours that are to go.
func (p *pass) unwanted() []owned {
	if p.wanted == len(p.have) {
		return nil
	}
	var routes []owned
	for k, e := range p.have {
		switch {
		case e.round == p.round:
		case e.hops == 0:
			delete(p.have, k)
		case p.desired.Settling && e.inherited:
		default:
			routes = append(routes, owned{k, p.at, e.hops})
		}
	}
	return routes
}

// inWords says why the kernel does not take a route.
func inWords(err error) string {
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return fmt.Sprintf("the kernel finds no way to the next hop: %v", err)
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENODEV):
		return fmt.Sprintf("the link to the next hop is down or gone: %v", err)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		return fmt.Sprintf("the kernel has no room for more routes: %v", err)
	default:
		return fmt.Sprintf("the kernel refuses it: %v", err)
	}
}

// protocols are the names of iproute2's rt_protos that are met on a node.
var protocols = map[uint8]string{
	unix.RTPROT_KERNEL: "kernel", unix.RTPROT_BOOT: "boot", unix.RTPROT_STATIC: "static", unix.RTPROT_RA: "ra",
	unix.RTPROT_ZEBRA: "zebra", unix.RTPROT_BIRD: "bird", unix.RTPROT_DHCP: "dhcp", unix.RTPROT_BGP: "bgp",
	unix.RTPROT_OSPF: "ospf",
}

// occupied says that another program's route is in the way.
func occupied(protocol uint8) string {
	name, known := protocols[protocol]
	if !known {
		name = strconv.Itoa(int(protocol))
	}
	return fmt.Sprintf("the kernel has a route of another program (protocol %s) for this prefix and metric", name)
}
