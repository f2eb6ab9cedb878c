package gobgp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/waymark-bgp/waymark/bgp"
)

// announce makes the list what this node originates.
func (s *Speaker) announce(ctx context.Context, list []bgp.Announcement) error {
	wanted := map[netip.Prefix]bgp.Announcement{}
	var add, remove []*apiutil.Path
	for _, a := range list {
		wanted[a.Prefix] = a
		if old, ok := s.announced[a.Prefix]; !ok || !slices.Equal(old.Communities, a.Communities) {
			add = append(add, path(a))
		}
	}
	for prefix, a := range s.announced {
		if _, ok := wanted[prefix]; !ok {
			remove = append(remove, path(a))
		}
	}
	if len(remove) > 0 {
		// While GoBGP holds changes back, a withdrawal of what has been sent already would be lost.
		select {
		case <-time.After(time.Until(s.running.heldUntil)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.running.DeletePath(apiutil.DeletePathRequest{Paths: remove}); err != nil {
			return fmt.Errorf("withdraw announcements: %w", err)
		}
	}
	if len(add) > 0 {
		s.running.announced = time.Now()
		if _, err := s.running.AddPath(apiutil.AddPathRequest{Paths: add}); err != nil {
			return fmt.Errorf("announce prefixes: %w", err)
		}
	}
	s.mu.Lock()
	s.announced = maps.Clone(wanted)
	s.mu.Unlock()
	if len(add)+len(remove) > 0 {
		s.touch() // not always: whoever is told may apply again
	}
	return nil
}

// path is an announcement in GoBGP's terms. An unspecified next hop means the local address of each session.
func path(a bgp.Announcement) *apiutil.Path {
	f := family(bgp.FamilyOf(a.Prefix))
	// Neither can fail: the prefix is valid, the list is not empty.
	nlri, _ := packet.NewIPAddrPrefix(a.Prefix)
	attributes := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if f == packet.RF_IPv4_UC {
		next, _ := packet.NewPathAttributeNextHop(netip.IPv4Unspecified())
		attributes = append(attributes, next)
	} else {
		next, _ := packet.NewPathAttributeMpReachNLRI(f, []packet.PathNLRI{{NLRI: nlri}}, netip.IPv6Unspecified())
		attributes = append(attributes, next)
	}
	if len(a.Communities) > 0 {
		var values []uint32
		for _, c := range a.Communities {
			values = append(values, uint32(c))
		}
		attributes = append(attributes, packet.NewPathAttributeCommunities(values))
	}
	return &apiutil.Path{Family: f, Nlri: nlri, Attrs: attributes, Age: time.Now().Unix()}
}

func family(f bgp.Family) packet.Family {
	if f == bgp.IPv6 {
		return packet.RF_IPv6_UC
	}
	return packet.RF_IPv4_UC
}

func apiFamily(f bgp.Family) *api.Family {
	afi := api.Family_AFI_IP
	if f == bgp.IPv6 {
		afi = api.Family_AFI_IP6
	}
	return &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}
}
