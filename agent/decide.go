package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/route"
)

// Facts is what the agent knows by itself: measured, or remembered from what is in force.
type Facts struct {
	// Restarting: an earlier agent on this boot has left its routes in the kernel.
	Restarting bool
	// Announced are the prefixes announced now, or by the agent before this one on the same boot.
	Announced []netip.Prefix
	// BGP is what was last applied; nil before the first time.
	BGP *bgp.Config
	// Addresses of the node's interfaces, with the length of their networks.
	Addresses []netip.Prefix
	// PathFailures as BFD counts them, by peer address; a link-local one has its zone.
	PathFailures map[netip.Addr]uint64
	// Drained: a node on its way out has been left by traffic, or has waited for that long enough.
	Drained bool
	// Told: the peers with a session have told all the routes they have.
	Told bool
	// Egress is what concerns egress gateways.
	Egress EgressFacts
	// Learned is every prefix learned and accepted, with its next hops; nil: none.
	Learned func(yield func(netip.Prefix, []netip.Addr) bool)
}

// Plan is the whole desired state of the node.
type Plan struct {
	NAT     *nat.Plan // nil, as each of the next three: not decidable, leave things as they are
	Egress  *EgressPlan
	BGP     *bgp.Config
	Routes  *RoutePlan
	BFD     []bfd.SessionConfig // decided with BGP
	Drained bool                // on its way out, and nothing is announced any more
	Gate    Gate                // what keeps a prefix from being announced
	// Waiting names the peers that this node should have and cannot have yet, for instance without their password.
	Waiting []string
	// Problems are everything that the snapshot asks for and that is not in force, with the reason.
	Problems []Problem
}

// RoutePlan is where learned routes go. Which they are, the speaker knows.
type RoutePlan struct {
	Table  int // kernel table
	Metric int
	Own    []netip.Prefix // the node's PodCIDRs, never learned
}

// Decide makes the plan for one node. It is pure: the same snapshot and facts give the same plan.
func Decide(node string, s Snapshot, f Facts) Plan {
	d := decision{facts: f, snapshot: s}
	d.plan.Problems = slices.Clone(s.Problems)
	d.plan.Gate = Gate{Open: true, Reason: "Open"}
	if !d.findNode(node) {
		d.hold("NoNode", "the source has no Node %s", node)
		return d.plan
	}
	d.datacenter = pickDefault(&d, s.Datacenters, "DatacenterNetwork")
	own, pods := d.podPrefixes()
	d.sourceAddresses(pods)
	if configuration := pickDefault(&d, s.Configurations, "BGPConfiguration"); configuration != nil {
		d.speaker(configuration, own, pods)
	} else {
		d.hold("NotConfigured", "there is no BGPConfiguration named default")
		d.problem("BGPConfiguration/"+v1alpha1.DefaultName, "Missing",
			"there is no BGPConfiguration named default: BGP stays as it is")
	}
	// A conflict may have been found here and by the controller.
	d.plan.Problems = slices.CompactFunc(slices.SortedStableFunc(slices.Values(d.plan.Problems), func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	}), func(a, b Problem) bool { return a == b })
	return d.plan
}

// decision is the state of one Decide.
type decision struct {
	snapshot   Snapshot
	facts      Facts
	node       *corev1.Node
	datacenter *v1alpha1.DatacenterNetwork
	plan       Plan
	uses       map[uint32]*use // egress addresses by VNI
}

func (d *decision) problem(object, reason, format string, args ...any) {
	d.plan.Problems = append(d.plan.Problems, Problem{Object: object, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (d *decision) findNode(name string) bool {
	i := slices.IndexFunc(d.snapshot.Nodes, func(n corev1.Node) bool { return n.Name == name })
	if i < 0 {
		d.problem("Node/"+name, "Missing", "the source has no Node %q (it has %s): what is in force stays", name, others(d.snapshot.Nodes))
		return false
	}
	d.node = &d.snapshot.Nodes[i]
	d.plan.Drained = Leaving(d.node) && d.facts.Drained
	if Leaving(d.node) {
		d.hold("Drain", "the node has label or taint %s", v1alpha1.Drain)
	}
	return true
}

// others names a few of the nodes that there are, by one of which the agent's may have been meant.
func others(nodes []corev1.Node) string {
	const shown = 5
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > shown:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), n-shown)
	}
	return strings.Join(names, ", ")
}

// object is what pickDefault needs to know of a kind.
type object interface{ GetName() string }

// pickDefault returns the object named "default"; others of the kind are problems.
func pickDefault[T any, P interface {
	*T
	object
}](d *decision, all []T, kind string) *T {
	var found *T
	for i := range all {
		if name := P(&all[i]).GetName(); name == v1alpha1.DefaultName && found == nil {
			found = &all[i]
		} else {
			d.problem(kind+"/"+name, "Duplicate", "there is one %s, named default: this one is ignored", kind)
		}
	}
	return found
}

// nodeAddresses are the node's addresses that other machines may use, from its status.
func (d *decision) nodeAddresses() []netip.Addr {
	var addrs []netip.Addr
	for _, a := range d.node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		addr, err := netip.ParseAddr(a.Address)
		if err != nil {
			d.problem("Node/"+d.node.Name, "Invalid", "address %q in status: %v", a.Address, err)
			continue
		}
		addrs = append(addrs, addr.Unmap())
	}
	return addrs
}

const (
	defaultTable  = route.MainTable
	defaultMetric = 200
)
