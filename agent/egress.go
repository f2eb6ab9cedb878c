package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/route"
)

// Way is a way out of the node to an egress address, which a mark in the kernel names.
type Way struct {
	VNI     uint32     `json:"vni"`
	Gateway netip.Addr `json:"gateway,omitzero"` // node address of the gateway; invalid: this node is the gateway
}

// EgressFacts is what the node knows by itself of egress gateways.
type EgressFacts struct {
	Underlay route.Underlay
	Health   map[netip.Addr]Health // of gateway nodes by address; one that is missing is presumed alive
	Self     Health                // Alive or Returned
	// Isolated: this node has lost all others. What it owned they have taken over.
	Isolated bool
	Choices  map[uint32]Choice // in force, by VNI
	Marks    map[Way]uint16    // in use
	Now      time.Time         // of new choices
}

// EgressPlan is the desired state of the ways to egress gateways. What of it is on the node of the pods and what on the
// gateway is in one plan, since a node may be both.
type EgressPlan struct {
	Tunnels  route.Tunnels
	Sessions []bfd.SessionConfig // with gateways
	Passive  []netip.Prefix      // who may watch this node by BFD
	Choices  map[uint32]Choice
	Marks    map[Way]uint16
	Announce []bgp.Announcement
	States   []EgressState // sorted by VNI
}

// EgressState is an egress address that the node uses or may own.
type EgressState struct {
	Address  netip.Addr `json:"address,omitzero"` // invalid: the gateway's own
	VNI      uint32     `json:"vni"`
	Policies []string   `json:"policies"`
	Choice
	Owns         bool           `json:"owns"`            // this node is the owner
	Uses         bool           `json:"uses"`            // pods of this node do
	Ports        int            `json:"ports,omitempty"` // that this node gives out as a gateway, for each destination; 0: it is none
	LastFailover *Failover      `json:"lastFailover,omitempty"`
	Gateways     []GatewayState `json:"gateways"`
}

// GatewayState is a node that may own an egress address.
type GatewayState struct {
	Node    string     `json:"node"`
	Address netip.Addr `json:"address"` // the node's
	Health  Health     `json:"health"`
	Leaving bool       `json:"leaving,omitempty"`
}

const (
	firstPort, lastPort = 1024, 65535 // that SNAT gives out
	maxRank             = 9
	// handOverTime is how long the nodes wait with a planned change of gateway: all gateways have learned of it by then.
	handOverTime = time.Second
)

// use is an egress address with what this node has to do with it.
type use struct {
	v1alpha1.EgressAddress
	address  netip.Addr
	policies []string
	needed   bool // pods of this node use it
	serves   bool // this node may own it
	timing   bfd.Timing
	states   []GatewayState
	choice   Choice
}

// egress plans the ways to the gateways of all policies. Afterwards d.uses has every egress address of a policy.
func (d *decision) egress(pods []netip.Prefix) {
	d.plan.Egress = &EgressPlan{Choices: map[uint32]Choice{}, Marks: map[Way]uint16{}}
	d.uses = map[uint32]*use{}
	lists := d.owners()
	for i := range d.snapshot.Policies {
		p := &d.snapshot.Policies[i]
		if p.Spec.Source != v1alpha1.SourceGateway || p.Spec.Gateway == nil {
			continue
		}
		selected, some, ok := d.selected("EgressPolicy/"+p.Name, p.Spec.Pods)
		for _, list := range lists[p.Name] {
			d.use(p, list, ok && len(pods) > 0 && (!some || len(selected) > 0))
		}
	}
	d.mark()
	d.tunnels()
}

// owners are the lists of gateways of each policy, from the controller, or without one from the same rules.
func (d *decision) owners() map[string][]v1alpha1.EgressAddress {
	if !d.snapshot.Controlled {
		lists, _ := Owners(d.snapshot) // whose problems Check has
		for _, list := range lists {
			for i := range list {
				list[i].Term = 1 // nobody counts: the nodes alone keep to what they have chosen
			}
		}
		return lists
	}
	lists := map[string][]v1alpha1.EgressAddress{}
	for i := range d.snapshot.Policies {
		lists[d.snapshot.Policies[i].Name] = d.snapshot.Policies[i].Status.Addresses
	}
	return lists
}

// use notes that a policy has an egress address.
func (d *decision) use(p *v1alpha1.EgressPolicy, list v1alpha1.EgressAddress, needed bool) {
	object, vni := "EgressPolicy/"+p.Name, uint32(list.VNI)
	u := d.uses[vni]
	if u == nil {
		u = &use{EgressAddress: list}
		if list.Address != "" {
			var err error
			if u.address, err = netip.ParseAddr(list.Address); err != nil {
				d.problem(object, "Invalid", "status.addresses: %q is not an IP address: not in force", list.Address)
				return
			}
		}
		for _, g := range list.Gateways {
			address, err := netip.ParseAddr(g.Address)
			if err != nil {
				d.problem(object, "Invalid", "status.addresses: gateway %s: %q is not an IP address: the gateway is not used", g.Node, g.Address)
				continue
			}
			state := GatewayState{Node: g.Node, Address: address.Unmap(), Health: d.facts.Egress.Health[address.Unmap()], Leaving: g.Leaving}
			if g.Node == d.node.Name {
				state.Health, u.serves = d.facts.Egress.Self, true
			}
			u.states = append(u.states, state)
		}
		d.uses[vni] = u
	}
	u.policies = append(u.policies, p.Name)
	u.needed = u.needed || needed
	watch := p.Spec.Gateway.BFD
	if watch == nil {
		watch = &v1alpha1.BFD{}
	}
	interval := duration(watch.Interval, defaultBFDInterval)
	if u.timing.DesiredMinTx == 0 || interval < u.timing.DesiredMinTx {
		u.timing = bfd.Timing{DesiredMinTx: interval, RequiredMinRx: interval, DetectMult: uint8(or(watch.Multiplier, defaultBFDMultiplier))}
	}
}

// mark chooses gateways and names the ways. A mark keeps its meaning while it is in use: connections bear it.
func (d *decision) mark() {
	taken := map[uint16]bool{}
	for _, mark := range d.facts.Egress.Marks {
		taken[mark] = true
	}
	next := uint16(1)
	name := func(w Way) {
		if mark, ok := d.facts.Egress.Marks[w]; ok {
			d.plan.Egress.Marks[w] = mark
			return
		}
		for taken[next] {
			next++
		}
		if next > nat.MaxMark {
			d.problem("Node/"+d.node.Name, "TooMany", "this node uses more than %d ways to egress gateways: some are not in force", nat.MaxMark)
			return
		}
		taken[next] = true
		d.plan.Egress.Marks[w] = next
	}
	for _, vni := range slices.Sorted(maps.Keys(d.uses)) {
		u := d.uses[vni]
		if !u.needed && !u.serves {
			continue
		}
		u.choose(d.facts.Egress, d.node.Name, d.snapshot.Controlled)
		d.plan.Egress.Choices[vni] = u.choice
		if u.serves {
			name(Way{VNI: vni})
		}
		for _, g := range u.states {
			if u.needed && g.Node != d.node.Name {
				name(Way{VNI: vni, Gateway: g.Address})
			}
		}
		d.plan.Egress.States = append(d.plan.Egress.States, EgressState{
			Address: u.address, VNI: vni, Policies: u.policies, Choice: u.choice,
			Owns: u.owner() != nil && u.choice.Gateway == d.node.Name && !d.facts.Egress.Isolated, Uses: u.needed, Gateways: u.states,
		})
	}
}

func (u *use) choose(f EgressFacts, self string, controlled bool) {
	before := f.Choices[uint32(u.VNI)]
	if controlled {
		// Who differs is told by the controller, with a new term. Its list reaches gateways and nodes one by one: what a gateway
		// says of itself by the new one is nothing to go by with the old.
		before.Lost, before.Forced = "", false
	}
	health := map[string]Health{}
	list := v1alpha1.EgressAddress{Term: u.Term}
	for _, g := range u.states {
		health[g.Node] = g.Health
		// To all others a node that is cut off is dead: it comes last to itself, too.
		list.Gateways = append(list.Gateways, v1alpha1.EgressOwner{Node: g.Node, Leaving: g.Leaving || f.Isolated && g.Node == self})
	}
	u.choice = choose(list, before, f.Now, func(g v1alpha1.EgressOwner) Health { return health[g.Node] })
	if u.choice.Gateway != before.Gateway {
		u.choice.Since, u.choice.Before = f.Now, cmp.Or(before.Gateway, before.Before)
		failed := slices.ContainsFunc(u.states, func(g GatewayState) bool {
			return g.Node == before.Gateway && !g.Leaving && g.Health >= Returned
		})
		failed = failed && before.Final && before.Term == u.Term
		if failed {
			u.choice.Failovers++
		}
		u.choice.Forced = failed || before.open(f.Now)
		if before.Lost != "" && u.choice.Gateway == before.Lost {
			u.choice.Forced, u.choice.Before = false, "" // all others have been there all the time
		}
	}
	// What a node that is cut off owns is nobody else's affair, and nothing that it may keep.
	u.choice.Final = u.choice.Final && !(f.Isolated && u.choice.Gateway == self)
}

// owner is the gateway chosen; nil: there is none.
func (u *use) owner() *GatewayState {
	i := slices.IndexFunc(u.states, func(g GatewayState) bool { return g.Node == u.choice.Gateway })
	if i < 0 {
		return nil
	}
	return &u.states[i]
}

// sends is the gateway that new connections go to: the owner, but a while after a planned change still the one before it. So
// the gateways know of the change first, and hand each other what the other one may have.
func (u *use) sends(now time.Time) *GatewayState {
	if now.Sub(u.choice.Since) < handOverTime && !u.choice.Forced {
		i := slices.IndexFunc(u.states, func(g GatewayState) bool { return g.Node == u.choice.Before && g.Health == Alive })
		if i >= 0 {
			return &u.states[i]
		}
	}
	return u.owner()
}

// partner is the other gateway that may have connections which this node does not know: of the owner's, the one before it,
// or one that is leaving; of all others', the owner.
func (u *use) partner(self string) netip.Addr {
	owner := u.owner()
	switch {
	case owner == nil:
		return netip.Addr{}
	case owner.Node != self:
		return owner.Address
	}
	partner := netip.Addr{}
	for _, g := range u.states {
		switch {
		case g.Node == self || g.Health == Dead:
		case g.Node == u.choice.Before:
			return g.Address
		case g.Leaving && !partner.IsValid():
			partner = g.Address
		}
	}
	return partner
}

// ports of SNAT. Owners that follow each other use different parts: the peer may still know the connections of the one
// before, and what is handed over to a gateway must not look like a connection of its own. The owner by the list goes by the
// term, one that has taken over from it by the other half. Without a controller nobody counts terms: each gateway has its
// part, by name, of at most four.
func (u *use) ports(self string, controlled bool) (first, last uint16) {
	parts, part := 2, int(u.Term%2)
	if i := slices.IndexFunc(u.states, func(g GatewayState) bool { return !g.Leaving }); i >= 0 && u.states[i].Node != self {
		part = 1 - part
	}
	if !controlled {
		parts, part = min(max(len(u.states), 2), 4), 0
		for _, g := range u.states {
			if g.Node < self {
				part++
			}
		}
		part %= parts
	}
	size := (lastPort + 1) / parts
	return uint16(max(firstPort, part*size)), uint16((part+1)*size - 1)
}

// tunnels plans what leads to the gateways, and on a gateway out of the tunnels.
func (d *decision) tunnels() {
	plan, local := d.plan.Egress, d.tunnelAddresses()
	if len(d.plan.Egress.States) == 0 {
		return
	}
	if d.facts.Egress.Underlay.MTU == 0 {
		d.problem("Node/"+d.node.Name, "NoUnderlay", "no interface has an address of the node's status.addresses (%s): no traffic to egress gateways", local)
		return
	}
	plan.Tunnels = route.Tunnels{Local: local, Mask: nat.MarkMask, Shift: nat.MarkShift}
	d.plan.NAT.Tunnel = nat.Tunnel{Port: route.TunnelPort, MTU: d.facts.Egress.Underlay.MTU, Prefix: route.TunnelPrefix}
	gateways := map[netip.Addr]bool{}
	for _, vni := range slices.Sorted(maps.Keys(d.uses)) {
		u := d.uses[vni]
		if !u.needed && !u.serves {
			continue
		}
		for _, g := range u.states {
			gateways[g.Address] = true
			if g.Node == d.node.Name {
				continue
			}
			d.watchGateway(u, g)
			if mark, ok := plan.Marks[Way{vni, g.Address}]; ok {
				plan.Tunnels.Paths = append(plan.Tunnels.Paths, route.TunnelPath{Mark: mark, VNI: vni, Gateway: g.Address})
			}
		}
		if u.serves {
			d.serve(u)
		}
	}
	plan.Tunnels.Gateways = slices.SortedFunc(maps.Keys(gateways), netip.Addr.Compare)
	d.plan.NAT.Tunnel.Gateways = plan.Tunnels.Gateways
	if len(plan.Tunnels.Exits) > 0 {
		d.plan.NAT.Tunnel.Peers = d.tunnelPeers()
		plan.Passive = d.plan.NAT.Tunnel.Peers
	}
}

// watchGateway plans a BFD session; the shortest interval that a policy asks for counts.
func (d *decision) watchGateway(u *use, g GatewayState) {
	sessions := &d.plan.Egress.Sessions
	key := bfd.Key{Peer: g.Address, Multihop: true}
	i := slices.IndexFunc(*sessions, func(s bfd.SessionConfig) bool { return s.Key == key })
	if i < 0 {
		*sessions = append(*sessions, bfd.SessionConfig{Key: key, Timing: u.timing, Gateway: true})
	} else if u.timing.DesiredMinTx < (*sessions)[i].DesiredMinTx {
		(*sessions)[i].Timing = u.timing
	}
}

// serve plans this node's part as a gateway.
func (d *decision) serve(u *use) {
	plan, vni := d.plan.Egress, uint32(u.VNI)
	mark, ok := plan.Marks[Way{VNI: vni}]
	if !ok {
		return
	}
	i := slices.IndexFunc(plan.States, func(s EgressState) bool { return s.VNI == vni })
	owns := plan.States[i].Owns
	plan.Tunnels.Exits = append(plan.Tunnels.Exits, route.TunnelExit{
		VNI: vni, Address: u.address, Partner: u.partner(d.node.Name), Owns: owns,
	})
	exit := nat.Exit{Mark: mark, Device: route.TunnelDevice(vni), Address: u.address}
	exit.First, exit.Last = u.ports(d.node.Name, d.snapshot.Controlled)
	d.plan.NAT.Exits = append(d.plan.NAT.Exits, exit)
	plan.States[i].Ports = int(exit.Last) - int(exit.First) + 1
	if !u.address.IsValid() || d.plan.Drained {
		return
	}
	rank := uint8(0)
	if !owns {
		place := slices.IndexFunc(u.states, func(g GatewayState) bool { return g.Node == d.node.Name })
		rank = uint8(min(1+place, maxRank))
	}
	plan.Announce = append(plan.Announce, bgp.Announcement{Prefix: netip.PrefixFrom(u.address, u.address.BitLen()), Rank: rank})
}

// via are the paths of a policy's new connections.
func (d *decision) via(p *v1alpha1.EgressPolicy) []nat.Path {
	var paths []nat.Path
	for _, vni := range slices.Sorted(maps.Keys(d.uses)) {
		u := d.uses[vni]
		owner := u.sends(d.facts.Egress.Now)
		if !slices.Contains(u.policies, p.Name) || owner == nil {
			continue
		}
		way := Way{VNI: vni, Gateway: owner.Address}
		if owner.Node == d.node.Name {
			way.Gateway = netip.Addr{}
		}
		if mark, ok := d.plan.Egress.Marks[way]; ok && d.plan.NAT.Tunnel.Port != 0 {
			own := !u.address.IsValid()
			paths = append(paths, nat.Path{Mark: mark, IPv4: own || u.address.Is4(), IPv6: own || u.address.Is6()})
		}
	}
	return paths
}

// tunnelAddresses are the node's addresses that tunnels end at, the first of each family.
func (d *decision) tunnelAddresses() []netip.Addr { return TunnelAddresses(d.node) }

// TunnelAddresses are the addresses of a node that tunnels may end at, the first of each family.
func TunnelAddresses(n *corev1.Node) []netip.Addr {
	var local []netip.Addr
	for _, is := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		addrs := internalAddresses(n)
		if i := slices.IndexFunc(addrs, is); i >= 0 {
			local = append(local, addrs[i])
		}
	}
	return local
}

func internalAddresses(n *corev1.Node) []netip.Addr {
	var addrs []netip.Addr
	for _, claim := range addressClaims(n) {
		addrs = append(addrs, claim.Prefix.Addr())
	}
	return addrs
}

// tunnelPeers are the nodes of the cluster: nobody else may use the tunnels.
func (d *decision) tunnelPeers() []netip.Prefix {
	var peers []netip.Prefix
	if d.snapshot.Controlled {
		if d.snapshot.State != nil {
			peers = d.prefixes("NodeRoutingState/"+d.node.Name, "spec.tunnelPeers", d.snapshot.State.Spec.TunnelPeers)
		}
	} else {
		for i := range d.snapshot.Nodes {
			for _, claim := range addressClaims(&d.snapshot.Nodes[i]) {
				peers = append(peers, claim.Prefix)
			}
		}
	}
	slices.SortFunc(peers, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(peers)
}
