package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

const (
	readAttempts = 5
	// maxHopSets bounds what is remembered of sets of hops that no route has any more.
	maxHopSets = 1 << 14
)

// read reads the kernel's routes and the host's addresses, unless nothing has changed since the last time. Afterwards have
// is what stands at the place.
func (t *Table) read(at place) error {
	if t.readAt != 0 && t.watched.Load() && t.readAt == t.events.Load() && t.at == at && len(t.sets.sets) < maxHopSets {
		return nil
	}
	if err := t.open(); err != nil {
		return err
	}
	if t.at != at || len(t.sets.sets) >= maxHopSets {
		// What has been wanted is still known to have been, wherever it stands.
		for k, e := range t.have {
			t.have[k] = entry{round: e.round, inherited: e.inherited}
		}
		t.sets, t.at = hopSets{}, at
	}
	events := t.events.Load()
	err := errInterrupted
	for attempt := 0; attempt < readAttempts && errors.Is(err, errInterrupted); attempt++ {
		err = t.dump()
	}
	if err != nil {
		t.readAt = 0
		return fmt.Errorf("read the kernel's routes: %w", err)
	}
	t.readAt = events
	return nil
}

func (t *Table) dump() error {
	t.strays, t.doubles, t.foreign, t.host, t.plans = nil, nil, make(map[key]uint8), route.Host{}, nil
	t.round++
	var f found
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		request := make([]byte, unix.SizeofRtMsg)
		request[0] = family
		err := t.conn.dump(unix.RTM_GETROUTE, request, func(body []byte) {
			if f.parse(body) && f.plain {
				t.note(&f)
			}
		})
		if err != nil {
			return err
		}
	}
	for k, e := range t.have {
		if e.round != t.round {
			t.have[k] = entry{round: e.round, drifted: e.drifted || e.hops != 0, inherited: e.inherited}
		}
	}
	return t.conn.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), func(body []byte) {
		if address, ok := parseAddress(body); ok {
			t.host.Addresses = append(t.host.Addresses, address)
		}
	})
}

// note remembers a route that the kernel has.
func (t *Table) note(f *found) {
	ours, here := f.protocol == route.Protocol, f.place == t.at.of(f.key)
	switch {
	case ours && here:
		hops := t.sets.number(f.hops)
		before, known := t.have[f.key]
		if known && before.round == t.round {
			t.doubles = append(t.doubles, owned{f.key, t.at, before.hops})
		}
		t.have[f.key] = entry{
			hops:      hops,
			round:     t.round,
			drifted:   before.drifted || before.hops != 0 && before.hops != hops,
			inherited: before.inherited || !known,
		}
	case ours:
		t.strays = append(t.strays, owned{f.key, f.place, t.sets.number(f.hops)})
	default:
		if here {
			t.foreign[f.key] = f.protocol
			if !f.key.is4 && len(f.hops) > 1 {
				// The kernel shows gateways of several programs as one route with the protocol of the first. Those of ours
				// are not told apart by reading, but by deleting, which spares all that are not of our protocol.
				t.doubles = append(t.doubles, owned{f.key, t.at, t.sets.number(f.hops)})
			}
		}
		if f.protocol != route.TunnelProtocol && (f.place.table == route.MainTable || f.place.table == t.at.table) {
			t.noteFact(f) // an egress address that leads into a tunnel is no network of the host
		}
	}
}

// noteFact remembers what another program's route tells of the network around.
func (t *Table) noteFact(f *found) {
	prefix, metric := f.key.prefix(), int(f.place.metric)
	if prefix.Addr().IsLinkLocalUnicast() || prefix.Addr().IsMulticast() {
		return
	}
	fact := route.Foreign{Prefix: prefix, Metric: metric}
	if f.kind == unix.RTN_UNICAST {
		for _, hop := range f.hops {
			if !hop.Gateway.IsValid() {
				t.host.Connected = append(t.host.Connected, route.OnLink{Prefix: prefix, Link: hop.Link, Metric: metric})
				return
			}
		}
		fact.Hops = append(fact.Hops, f.hops...)
	}
	t.host.Routes = append(t.host.Routes, fact)
}

// parseAddress reads an address message: the address of this side, with the length of its network.
func parseAddress(body []byte) (netip.Prefix, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return netip.Prefix{}, false
	}
	var a netip.Addr
	for typ, value := range attributes(body[unix.SizeofIfAddrmsg:]) {
		// On a point-to-point link IFA_ADDRESS is the other side's, and IFA_LOCAL is ours.
		if typ == unix.IFA_LOCAL || typ == unix.IFA_ADDRESS && !a.IsValid() {
			a, _ = netip.AddrFromSlice(value)
		}
	}
	return netip.PrefixFrom(a, int(body[1])), a.IsValid()
}
