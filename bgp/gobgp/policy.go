package gobgp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/osrg/gobgp/v4/api"

	"github.com/waymark-bgp/waymark/bgp"
)

// GoBGP knows policies per neighbour only for route servers. So there is one for all, in which each statement names its
// neighbour. It starts and ends closed: import lets our own paths through, export nothing that was learned.
const (
	importPolicy = "waymark-import"
	exportPolicy = "waymark-export"
	wholeTable   = "global"
)

// policies is what the two policies were made of, by neighbour.
type policies map[netip.Addr]peerPolicy

type peerPolicy struct {
	allowOwnAS uint8
	accept     []bgp.FilterRule
	announce   []bgp.FilterRule
	attributes bgp.Attributes
	internal   bool
	// families other than that of the session, with the next hop to announce them with; an invalid one: not announced.
	beside map[bgp.Family]netip.Addr
	lacks  []bgp.Family             // those of them that there is something of, and no next hop for it
	ranked map[uint8][]netip.Prefix // announcements that are not the first choice, by rank
}

// softly lists the sessions whose routes are to be judged again.
type softly struct{ in, out []netip.Addr }

// setPolicies puts the filters and attributes of the peers in force, for what comes from now on.
func (s *Speaker) setPolicies(ctx context.Context, peers []bgp.Peer) (softly, error) {
	wanted := policies{}
	for _, p := range peers {
		wanted[p.Address] = s.peerPolicy(p)
	}
	if s.policies != nil && reflect.DeepEqual(wanted, s.policies) {
		return softly{}, nil
	}
	request := wanted.request(s.config.ASN)
	if err := s.running.SetPolicies(ctx, request); err != nil {
		return softly{}, fmt.Errorf("set filters: %w", err)
	}
	if s.policies == nil {
		for name, direction := range map[string]api.PolicyDirection{
			importPolicy: api.PolicyDirection_POLICY_DIRECTION_IMPORT,
			exportPolicy: api.PolicyDirection_POLICY_DIRECTION_EXPORT,
		} {
			err := s.running.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
				Name:          wholeTable,
				Direction:     direction,
				Policies:      []*api.Policy{{Name: name}},
				DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
			}})
			if err != nil {
				return softly{}, fmt.Errorf("put filters in force: %w", err)
			}
		}
	}
	var soft softly
	for address, now := range wanted {
		before, ok := s.policies[address]
		for _, f := range now.lacks {
			if !slices.Contains(before.lacks, f) {
				s.log.Warn("the interface of a BGP session has no address to be the next hop of a family: the peer gets none of it",
					"address", address, "family", f)
			}
		}
		if ok && !reflect.DeepEqual(before.accept, now.accept) {
			soft.in = append(soft.in, address)
		}
		before.accept, now.accept, before.lacks, now.lacks = nil, nil, nil, nil
		if ok && !reflect.DeepEqual(before, now) {
			soft.out = append(soft.out, address)
		}
	}
	s.policies = wanted
	return soft, nil
}

func (s *Speaker) peerPolicy(p bgp.Peer) peerPolicy {
	policy := peerPolicy{
		allowOwnAS: p.AllowOwnAS,
		accept:     bgp.Sequence(p.Import, s.config.Accept),
		announce:   p.Export,
		attributes: p.Attributes,
		internal:   p.ASN == s.config.ASN,
		beside:     s.beside(p),
		ranked:     map[uint8][]netip.Prefix{},
	}
	for _, a := range s.config.Announce {
		if a.Rank > 0 {
			policy.ranked[a.Rank] = append(policy.ranked[a.Rank], a.Prefix)
		}
	}
	for _, prefixes := range policy.ranked {
		slices.SortFunc(prefixes, netip.Prefix.Compare)
	}
	for f, next := range policy.beside {
		if !next.IsValid() && slices.ContainsFunc(s.config.Announce, func(a bgp.Announcement) bool { return bgp.FamilyOf(a.Prefix) == f }) {
			policy.lacks = append(policy.lacks, f)
		}
	}
	return policy
}

// refresh has GoBGP judge again what it has and what it has sent, without a new session.
func (s *Speaker) refresh(ctx context.Context, soft softly) error {
	for _, address := range soft.in {
		err := s.running.ResetPeer(ctx, &api.ResetPeerRequest{Address: address.String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_IN})
		if err != nil {
			return fmt.Errorf("filter again what peer %s has sent: %w", address, err)
		}
	}
	for _, address := range soft.out {
		if err := s.resend(ctx, s.running, address); err != nil {
			return err
		}
	}
	return nil
}

func (s *Speaker) resend(ctx context.Context, in *instance, address netip.Addr) error {
	err := in.ResetPeer(ctx, &api.ResetPeerRequest{Address: address.String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_OUT})
	if err != nil {
		return fmt.Errorf("announce again to peer %s: %w", address, err)
	}
	return nil
}

// request writes the policies in GoBGP's terms.
func (p policies) request(asn uint32) *api.SetPoliciesRequest {
	imports, exports := &statements{name: importPolicy}, &statements{name: exportPolicy}
	imports.add(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL}, accept)
	exports.add(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_INTERNAL}, reject)
	exports.add(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_EXTERNAL}, reject)
	var neighbors []*api.DefinedSet
	for _, address := range slices.SortedFunc(maps.Keys(p), netip.Addr.Compare) {
		peer := p[address]
		neighbor := &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: address.String()}
		neighbors = append(neighbors, &api.DefinedSet{
			DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR,
			Name:        neighbor.Name,
			List:        []string{address.WithZone("").String()},
		})
		imports.loops(neighbor, asn, peer.allowOwnAS)
		imports.rules(neighbor, peer.accept)
		imports.add(&api.Conditions{NeighborSet: neighbor}, reject)

		exports.add(&api.Conditions{NeighborSet: neighbor}, peer.actions(asn))
		for _, rank := range slices.Sorted(maps.Keys(peer.ranked)) {
			exports.ranked(neighbor, peer.ranked[rank], peer.rankActions(rank, asn))
		}
		for f, next := range peer.beside {
			action := reject
			if next.IsValid() {
				action = &api.Actions{Nexthop: &api.NexthopAction{Address: next.String()}}
			}
			exports.add(&api.Conditions{NeighborSet: neighbor, AfiSafiIn: []*api.Family{apiFamily(f)}}, action)
		}
		exports.rules(neighbor, peer.announce)
		exports.add(&api.Conditions{NeighborSet: neighbor}, accept)
	}
	return &api.SetPoliciesRequest{
		DefinedSets: slices.Concat(neighbors, imports.sets, exports.sets),
		Policies:    []*api.Policy{{Name: importPolicy, Statements: imports.list}, {Name: exportPolicy, Statements: exports.list}},
	}
}

var (
	accept = &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT}
	reject = &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT}
)

// actions sets the peer's attributes and decides nothing.
func (p peerPolicy) actions(asn uint32) *api.Actions {
	a := p.preference(p.attributes, 0, asn)
	if len(p.attributes.Communities) > 0 {
		a.Community = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: texts(p.attributes.Communities)}
	}
	if len(p.attributes.LargeCommunities) > 0 {
		a.LargeCommunity = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: texts(p.attributes.LargeCommunities)}
	}
	return a
}

// rankActions sets what differs from actions for announcements of a rank.
func (p peerPolicy) rankActions(rank uint8, asn uint32) *api.Actions {
	return p.preference(p.attributes.Ranked(rank, p.internal), p.attributes.Prepend, asn)
}

// preference sets what makes a path better or worse; our ASN is in AS_PATH already as often as prepended says.
func (p peerPolicy) preference(attributes bgp.Attributes, prepended uint8, asn uint32) *api.Actions {
	a := &api.Actions{}
	if v := attributes.MED; v != nil {
		a.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*v)}
	}
	if v := attributes.LocalPreference; v != nil && p.internal {
		a.LocalPref = &api.LocalPrefAction{Value: *v}
	}
	if n := attributes.Prepend - prepended; n > 0 && !p.internal {
		a.AsPrepend = &api.AsPrependAction{Asn: asn, Repeat: uint32(n)}
	}
	return a
}

func texts[T fmt.Stringer](list []T) []string {
	var texts []string
	for _, v := range list {
		texts = append(texts, v.String())
	}
	return texts
}

// statements collects the statements of a policy and the sets that they name.
type statements struct {
	name string
	list []*api.Statement
	sets []*api.DefinedSet
}

func (s *statements) add(conditions *api.Conditions, actions *api.Actions) {
	s.list = append(s.list, &api.Statement{
		Name:       fmt.Sprintf("%s-%d", s.name, len(s.list)),
		Conditions: conditions,
		Actions:    actions,
	})
}

// loops refuses the paths that have been through our AS too often. GoBGP's own check only ignores such a path, and keeps the
// one that it takes the place of; to a policy it is a withdrawal.
func (s *statements) loops(neighbor *api.MatchSet, asn uint32, allowed uint8) {
	set := &api.DefinedSet{
		DefinedType: api.DefinedType_DEFINED_TYPE_AS_PATH,
		Name:        fmt.Sprintf("%s-%d", s.name, len(s.list)),
		// Of this form GoBGP looks for the number and not for a text, which matters with a hundred thousand paths.
		List: []string{fmt.Sprintf("_%d_", asn)},
	}
	if allowed > 0 {
		// An underscore is what may stand between two ASNs. It takes the blank, so the next one may begin at once.
		set.List = []string{fmt.Sprintf("_%d_((.*_)?%d_){%d}", asn, asn, allowed)}
	}
	s.sets = append(s.sets, set)
	s.add(&api.Conditions{NeighborSet: neighbor, AsPathSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: set.Name}}, reject)
}

// ranked adds a statement for the prefixes of each family, and decides nothing.
func (s *statements) ranked(neighbor *api.MatchSet, prefixes []netip.Prefix, actions *api.Actions) {
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: fmt.Sprintf("%s-%d", s.name, len(s.list))}
		for _, p := range prefixes {
			if bgp.FamilyOf(p) == f {
				set.Prefixes = append(set.Prefixes, &api.Prefix{
					IpPrefix: p.String(), MaskLengthMin: uint32(p.Bits()), MaskLengthMax: uint32(p.Bits()),
				})
			}
		}
		if len(set.Prefixes) > 0 {
			s.sets = append(s.sets, set)
			s.add(&api.Conditions{NeighborSet: neighbor, PrefixSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: set.Name}}, actions)
		}
	}
}

// rules adds a statement for each run of rules with the same action; a prefix set matches if one of its rules does.
func (s *statements) rules(neighbor *api.MatchSet, rules []bgp.FilterRule) {
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		var run *api.DefinedSet
		var action bgp.Action
		for _, r := range rules {
			if bgp.FamilyOf(r.Prefix) != f {
				continue
			}
			if run == nil || r.Action != action {
				action = r.Action
				run = &api.DefinedSet{
					DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX,
					Name:        fmt.Sprintf("%s-%d", s.name, len(s.list)),
				}
				s.sets = append(s.sets, run)
				actions := reject
				if action == bgp.Accept {
					actions = accept
				}
				s.add(&api.Conditions{NeighborSet: neighbor, PrefixSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: run.Name}}, actions)
			}
			run.Prefixes = append(run.Prefixes, &api.Prefix{
				IpPrefix:      r.Prefix.String(),
				MaskLengthMin: uint32(r.MinLength),
				MaskLengthMax: uint32(r.MaxLength),
			})
		}
	}
}
