package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
)

// Defaults of BGPConfiguration and BGPPeer.
const (
	defaultPort          = 179
	defaultRestartTime   = 120 * time.Second
	defaultHold          = 90 * time.Second
	defaultConnectRetry  = 2 * time.Second
	defaultBFDInterval   = 300 * time.Millisecond
	defaultBFDMultiplier = 3
)

// speaker plans BGP: who we are, whom we talk to, what we say.
func (d *decision) speaker(c *v1alpha1.BGPConfiguration, own, pods []netip.Prefix) {
	config := &bgp.Config{
		ASN:        uint32(c.Spec.ASN),
		ListenPort: uint16(or(c.Spec.ListenPort, defaultPort)),
		GracefulRestart: bgp.GracefulRestart{
			Enabled:     or(c.Spec.GracefulRestart.Enabled, true),
			RestartTime: duration(c.Spec.GracefulRestart.RestartTime, defaultRestartTime),
			Restarting:  d.facts.Restarting,
		},
	}
	addresses := d.nodeAddresses()
	if !d.identity(config, addresses) {
		return
	}
	object := "BGPConfiguration/" + c.Name
	for _, rule := range c.Spec.Learn.Accept {
		filter := v1alpha1.FilterRule{Prefix: rule.Prefix, MinLength: rule.MinLength, MaxLength: rule.MaxLength, Action: string(bgp.Accept)}
		config.Accept = append(config.Accept, d.filters(object, "spec.learn.accept", []v1alpha1.FilterRule{filter})...)
	}
	d.plan.Routes = &RoutePlan{
		Table:  int(or(c.Spec.Learn.Table, defaultTable)),
		Metric: int(or(c.Spec.Learn.Metric, defaultMetric)),
		Own:    own,
	}
	config.Announce = d.announcements(c, pods)
	for _, own := range d.facts.Addresses {
		addresses = append(addresses, own.Addr())
	}
	d.peers(config, addresses)
	if Leaving(d.node) {
		shutDown(config)
	}
	d.plan.BGP = config
}

// identity sets ASN and router ID, which a node's annotations may override.
func (d *decision) identity(config *bgp.Config, addresses []netip.Addr) bool {
	object := "Node/" + d.node.Name
	if text, ok := d.node.Annotations[v1alpha1.AnnotationASN]; ok {
		asn, err := strconv.ParseUint(text, 10, 32)
		if err != nil || asn == 0 {
			d.problem(object, "Invalid", "annotation %s: %q is not an AS number (1..4294967295): BGP stays as it is", v1alpha1.AnnotationASN, text)
			return false
		}
		config.ASN = uint32(asn)
	}
	if config.ASN == 0 {
		d.problem("BGPConfiguration/"+v1alpha1.DefaultName, "Invalid", "spec.asn is 0, want 1..4294967295: BGP stays as it is")
		return false
	}
	if text, ok := d.node.Annotations[v1alpha1.AnnotationRouterID]; ok {
		id, err := netip.ParseAddr(text)
		if err != nil || !id.Is4() || id.IsUnspecified() {
			d.problem(object, "Invalid", "annotation %s: %q is not an IPv4 address: BGP stays as it is", v1alpha1.AnnotationRouterID, text)
			return false
		}
		config.RouterID = id
		return true
	}
	i := slices.IndexFunc(addresses, netip.Addr.Is4)
	if i < 0 {
		d.problem(object, "NoRouterID", "the node has no IPv4 address in status.addresses to take the router ID from: "+
			"set annotation %s; BGP stays as it is", v1alpha1.AnnotationRouterID)
		return false
	}
	config.RouterID = addresses[i]
	return true
}

func (d *decision) announcements(c *v1alpha1.BGPConfiguration, pods []netip.Prefix) []bgp.Announcement {
	if d.plan.Drained {
		return nil
	}
	communities := list(d, "BGPConfiguration/"+c.Name, "spec.advertise.communities", c.Spec.Advertise.Communities, bgp.ParseCommunity)
	var announce []bgp.Announcement
	if or(c.Spec.Advertise.PodCIDRs, true) {
		for _, prefix := range pods {
			announce = append(announce, bgp.Announcement{Prefix: prefix, Communities: communities})
		}
	}
	if or(c.Spec.Advertise.EgressAddresses, true) {
		for _, address := range d.plan.Egress.Announce {
			address.Communities = communities
			announce = append(announce, address)
		}
	}
	return announce
}

func (d *decision) peers(config *bgp.Config, own []netip.Addr) {
	byAddress := map[netip.Addr]string{}
	for _, p := range d.inForceFirst() {
		object := "BGPPeer/" + p.Name
		address, ok := d.peerAddress(p)
		if !ok {
			continue
		}
		if slices.Contains(own, address) {
			d.problem(object, "PeerIsSelf", "%s is an address of this node", address)
			continue
		}
		if other, taken := byAddress[address]; taken {
			d.problem(object, "Duplicate", "BGPPeer %s has the same address %s on this node: this one is ignored", other, address)
			continue
		}
		peer, ok := d.peer(object, p, address)
		if err := peer.Validate(config); ok && err != nil {
			d.problem(object, "Invalid", "%v", err)
			ok = false
		}
		byAddress[address] = p.Name
		if ok {
			config.Peers = append(config.Peers, peer)
		} else {
			d.plan.Waiting = append(d.plan.Waiting, p.Name)
		}
		if p.Spec.BFD == nil {
			continue
		}
		session := d.session(p, peer)
		if err := session.Validate(); err != nil {
			d.problem(object, "Invalid", "spec.bfd: %v", err)
			continue
		}
		d.plan.BFD = append(d.plan.BFD, session)
	}
}

// inForceFirst are all peers, those first that have a session already: a newcomer with the same address does not end it.
func (d *decision) inForceFirst() []*v1alpha1.BGPPeer {
	rank := func(p *v1alpha1.BGPPeer) int {
		if d.before(p.Name) != nil {
			return 0
		}
		return 1
	}
	var peers []*v1alpha1.BGPPeer
	for i := range d.snapshot.Peers {
		peers = append(peers, &d.snapshot.Peers[i])
	}
	slices.SortStableFunc(peers, func(a, b *v1alpha1.BGPPeer) int { return cmp.Compare(rank(a), rank(b)) })
	return peers
}

// peerAddress says whether the peer is one of this node's, and where it is.
func (d *decision) peerAddress(p *v1alpha1.BGPPeer) (netip.Addr, bool) {
	object := "BGPPeer/" + p.Name
	selector, err := v1alpha1.Selector(p.Spec.NodeSelector)
	if err != nil {
		d.problem(object, "Invalid", "spec.nodeSelector: %v", err)
		return netip.Addr{}, false
	}
	if !selector.Matches(labels.Set(d.node.Labels)) {
		return netip.Addr{}, false
	}
	text, where := p.Spec.Address, "spec.address"
	if key := p.Spec.FromNodeAnnotation; key != "" {
		var ok bool
		if text, ok = d.node.Annotations[key]; !ok {
			return netip.Addr{}, false
		}
		where = "annotation " + key + " of the node"
	}
	address, err := netip.ParseAddr(text)
	if err == nil {
		return address.Unmap(), true
	}
	if before := d.before(p.Name); before != nil {
		d.problem(object, "Invalid", "%s: %q is not an IP address: the peer stays at %s", where, text, before.Address)
		return before.Address, true
	}
	d.problem(object, "Invalid", "%s: %q is not an IP address", where, text)
	d.plan.Waiting = append(d.plan.Waiting, p.Name)
	return netip.Addr{}, false
}

func (d *decision) peer(object string, p *v1alpha1.BGPPeer, address netip.Addr) (bgp.Peer, bool) {
	spec := &p.Spec
	peer := bgp.Peer{
		Name:         p.Name,
		Address:      address,
		ASN:          uint32(spec.ASN),
		Port:         uint16(or(spec.Port, defaultPort)),
		Timers:       timers(spec.Timers),
		Import:       d.filters(object, "spec.import", spec.Import),
		Export:       d.filters(object, "spec.export", spec.Export),
		MaxPrefixes:  uint32(or(spec.MaxPrefixes, 0)),
		AllowOwnAS:   uint8(or(spec.AllowOwnAS, 0)),
		Passive:      spec.Passive,
		Families:     families(spec.Families),
		PathFailures: d.facts.PathFailures[address],
		Attributes: bgp.Attributes{
			MED:              as32(spec.Attributes.MED),
			LocalPreference:  as32(spec.Attributes.LocalPreference),
			Prepend:          uint8(or(spec.Attributes.Prepend, 0)),
			Communities:      list(d, object, "spec.attributes.communities", spec.Attributes.Communities, bgp.ParseCommunity),
			LargeCommunities: list(d, object, "spec.attributes.largeCommunities", spec.Attributes.LargeCommunities, bgp.ParseLargeCommunity),
		},
	}
	if spec.Multihop != nil {
		peer.MultihopTTL = uint8(spec.Multihop.TTL)
	}
	if spec.TTLSecurity != nil {
		peer.TTLSecurity = uint8(spec.TTLSecurity.Hops)
	}
	if spec.PasswordSecret != nil {
		var ok bool
		if peer.Password, ok = d.password(object, p.Name, address, *spec.PasswordSecret); !ok {
			return peer, false
		}
	}
	return peer, true
}

// before is the peer of a name as it is in force; nil: there is none.
func (d *decision) before(name string) *bgp.Peer {
	if d.facts.BGP == nil {
		return nil
	}
	i := slices.IndexFunc(d.facts.BGP.Peers, func(p bgp.Peer) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &d.facts.BGP.Peers[i]
}

// password reads a session's key. While its Secret is missing, a session that is there stays as it is. But one without a key
// does not move: at its new address it would be a session that never had what was asked for.
func (d *decision) password(object, peer string, address netip.Addr, key v1alpha1.SecretKey) (bgp.Password, bool) {
	i := slices.IndexFunc(d.snapshot.Secrets, func(s corev1.Secret) bool { return s.Namespace == key.Namespace && s.Name == key.Name })
	if i >= 0 {
		secret := &d.snapshot.Secrets[i]
		if text, ok := secret.StringData[key.Key]; ok && text != "" {
			return bgp.NewPassword(text), true
		}
		if data := secret.Data[key.Key]; len(data) > 0 {
			return bgp.NewPassword(string(data)), true
		}
	}
	before, meanwhile := d.before(peer), "the session waits for it"
	has := before != nil && before.Password != (bgp.Password{})
	stays := has || before != nil && before.Address == address
	if has {
		meanwhile = "the session keeps the password it has"
	} else if stays {
		meanwhile = "the session stays without a password until it is there"
	}
	d.problem(object, "MissingSecret", "there is no key %q in Secret %s/%s: %s", key.Key, key.Namespace, key.Name, meanwhile)
	if !stays {
		return bgp.Password{}, false
	}
	return before.Password, true
}

func (d *decision) filters(object, field string, rules []v1alpha1.FilterRule) []bgp.FilterRule {
	var filters []bgp.FilterRule
	for _, r := range rules {
		prefix, err := v1alpha1.ParsePrefix(r.Prefix)
		if err != nil {
			d.problem(object, "Invalid", "%s: %q %v", field, r.Prefix, err)
			continue
		}
		// As in a router's prefix list: no lengths, the prefix itself; only a minimum, everything inside from there on.
		low, high := prefix.Bits(), prefix.Bits()
		if r.MinLength != nil {
			low, high = int(*r.MinLength), prefix.Addr().BitLen()
		}
		if r.MaxLength != nil {
			high = int(*r.MaxLength)
		}
		filters = append(filters, bgp.FilterRule{Prefix: prefix, MinLength: low, MaxLength: high, Action: bgp.Action(r.Action)})
	}
	return filters
}

// session is the BFD session for a peer: over one hop (RFC 5881) to a neighbour on a network of the node, else RFC 5883.
func (d *decision) session(p *v1alpha1.BGPPeer, peer bgp.Peer) bfd.SessionConfig {
	interval := duration(p.Spec.BFD.Interval, defaultBFDInterval)
	near := peer.Address.IsLinkLocalUnicast() ||
		slices.ContainsFunc(d.facts.Addresses, func(own netip.Prefix) bool { return own.Contains(peer.Address) })
	return bfd.SessionConfig{
		Key: bfd.Key{
			Peer:      peer.Address.WithZone(""),
			Interface: peer.Address.Zone(),
			Multihop:  p.Spec.Multihop != nil || !near,
		},
		Timing: bfd.Timing{
			DesiredMinTx:  interval,
			RequiredMinRx: interval,
			DetectMult:    uint8(or(p.Spec.BFD.Multiplier, defaultBFDMultiplier)),
		},
	}
}

func timers(t v1alpha1.Timers) bgp.Timers {
	hold := duration(t.Hold, defaultHold)
	return bgp.Timers{
		Hold:         hold,
		Keepalive:    duration(t.Keepalive, (hold / 3).Truncate(time.Second)),
		ConnectRetry: duration(t.ConnectRetry, defaultConnectRetry),
	}
}

func families(names []string) []bgp.Family {
	if len(names) == 0 {
		return []bgp.Family{bgp.IPv4, bgp.IPv6}
	}
	var families []bgp.Family
	for _, family := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		if slices.Contains(names, family.String()) {
			families = append(families, family)
		}
	}
	return families
}

// list parses the entries of a list of an object; what is malformed is a problem and left out.
func list[T any](d *decision, object, field string, texts []string, parse func(string) (T, error)) []T {
	var parsed []T
	for _, text := range texts {
		value, err := parse(text)
		if err != nil {
			d.problem(object, "Invalid", "%s: %v", field, err)
			continue
		}
		parsed = append(parsed, value)
	}
	return parsed
}

func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}

func as32(value *int64) *uint32 {
	if value == nil {
		return nil
	}
	n := uint32(*value)
	return &n
}

func duration(value *metav1.Duration, otherwise time.Duration) time.Duration {
	if value == nil {
		return otherwise
	}
	return value.Duration
}
