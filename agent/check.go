package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
)

func newDecision(s Snapshot) *decision {
	d := &decision{snapshot: s}
	d.datacenter = pickDefault(d, s.Datacenters, "DatacenterNetwork")
	return d
}

// Check returns what is wrong with the objects of a whole cluster beside each other, by object. What is wrong with one by
// itself its Validate says; here it counts as far as it can be read. It is pure.
func Check(s Snapshot) []Problem {
	d := newDecision(s)
	pickDefault(d, s.Configurations, "BGPConfiguration")
	d.checkPodCIDRs()
	d.checkNodeAddresses()
	d.checkDatacenter()
	d.checkPools()
	d.checkPolicies()
	d.checkEgress()
	d.checkPeers()
	d.checkRoles()
	d.checkExports()
	d.checkRegistries()
	slices.SortStableFunc(d.plan.Problems, func(a, b Problem) int { return cmp.Compare(a.Object, b.Object) })
	return d.plan.Problems
}

// Judge says of each node's PodCIDRs, by the node's name, whether they are its own, and if not, who is the owner.
func Judge(nodes []corev1.Node, networks []v1alpha1.DatacenterNetwork) map[string][]v1alpha1.PrefixVerdict {
	d := newDecision(Snapshot{Nodes: nodes, Datacenters: networks})
	verdicts := map[string][]v1alpha1.PrefixVerdict{}
	conflicts := d.podConflicts()
	for i := range nodes {
		name := nodes[i].Name
		for _, text := range podCIDRs(&nodes[i]) {
			verdict := v1alpha1.PrefixVerdict{Prefix: text}
			if prefix, err := v1alpha1.ParsePrefix(text); err != nil {
				verdict.Conflict = fmt.Sprintf("%q %v", text, err)
			} else if found := conflicts[name][prefix]; len(found) > 0 {
				verdict.Conflict = summary(found)
			}
			verdicts[name] = append(verdicts[name], verdict)
		}
	}
	return verdicts
}

// podConflicts are the PodCIDRs that give way, by node and prefix. Of many nodes with the same prefix all but the one that
// keeps it are told only of that one: else a mistake in all nodes would be a conflict for each pair of them.
func (d *decision) podConflicts() map[string]map[netip.Prefix][]ipam.Conflict {
	found := map[string]map[netip.Prefix][]ipam.Conflict{}
	add := func(c ipam.Conflict) {
		if found[c.Own.Name] == nil {
			found[c.Own.Name] = map[netip.Prefix][]ipam.Conflict{}
		}
		found[c.Own.Name][c.Own.Prefix] = append(found[c.Own.Name][c.Own.Prefix], c)
	}
	var all, others []ipam.Claim
	owner := map[netip.Prefix]ipam.Claim{}
	for i := range d.snapshot.Nodes {
		others = append(others, addressClaims(&d.snapshot.Nodes[i])...)
		for _, claim := range parseClaims(&d.snapshot.Nodes[i], nil) {
			all = append(all, claim)
			first, taken := owner[claim.Prefix]
			if !taken || len(ipam.Conflicts([]ipam.Claim{first}, []ipam.Claim{claim})) > 0 {
				owner[claim.Prefix] = claim
			}
		}
	}
	var owners []ipam.Claim
	for _, claim := range all {
		if first := owner[claim.Prefix]; first.Name == claim.Name {
			owners = append(owners, claim)
		} else {
			add(ipam.Conflict{Own: claim, Other: first})
		}
	}
	others = append(others, owners...)
	if d.datacenter != nil {
		others = append(others, claimsOf(ipam.DatacenterNetwork, d.datacenter, readable(d.datacenter.Spec.CIDRs))...)
	}
	for _, c := range ipam.Conflicts(owners, others) {
		add(c)
	}
	return found
}

func (d *decision) checkPodCIDRs() {
	inDatacenter := 0
	var example ipam.Conflict
	conflicts := d.podConflicts()
	for i := range d.snapshot.Nodes {
		name := d.snapshot.Nodes[i].Name
		for _, claim := range parseClaims(&d.snapshot.Nodes[i], nil) {
			found := conflicts[name][claim.Prefix]
			if len(found) == 0 {
				continue
			}
			d.problem("Node/"+name, "Overlap", "%s: not announced", summary(found))
			if j := slices.IndexFunc(found, func(c ipam.Conflict) bool { return c.Other.Kind == ipam.DatacenterNetwork }); j >= 0 {
				inDatacenter++
				example = found[j]
			}
		}
	}
	if inDatacenter > 0 {
		d.problem("DatacenterNetwork/"+d.datacenter.Name, "Overlap",
			"%v: not announced; there are %d such PodCIDRs: they or spec.cidrs are wrong", example, inDatacenter)
	}
}

// checkNodeAddresses names nodes with the same address. Routes and tunnels go to addresses: what is meant for one of them
// reaches whichever answers. A Node that has been replaced under another name is such a one until it is deleted.
func (d *decision) checkNodeAddresses() {
	first := map[netip.Prefix]string{}
	for i := range d.snapshot.Nodes {
		for _, claim := range addressClaims(&d.snapshot.Nodes[i]) {
			other, taken := first[claim.Prefix]
			if !taken {
				first[claim.Prefix] = claim.Name
			} else if other != claim.Name {
				d.problem("Node/"+claim.Name, "Duplicate", "%v is the InternalIP of Node %s too: what is sent to one may reach the other; "+
					"correct the one that is wrong, or delete the Node that is gone", claim.Prefix.Addr(), other)
			}
		}
	}
}

// checkDatacenter compares what the cluster uses with what the datacenter uses.
func (d *decision) checkDatacenter() {
	if d.datacenter == nil {
		return
	}
	for _, inside := range readable(d.datacenter.Spec.ClusterCIDRs) {
		for _, outside := range readable(d.datacenter.Spec.CIDRs) {
			if inside.Overlaps(outside) {
				d.problem("DatacenterNetwork/"+d.datacenter.Name, "Overlap",
					"%v of spec.clusterCIDRs overlaps %v of spec.cidrs: an address there belongs to the cluster or to the datacenter, not to both", inside, outside)
			}
		}
	}
}

// checkPools judges the pools by what others use. A pool may lie in the datacenter's networks, but not on its routers.
func (d *decision) checkPools() {
	var pools, others []ipam.Claim
	for i := range d.snapshot.Pools {
		pool := &d.snapshot.Pools[i]
		pools = append(pools, claimsOf(ipam.AddressPool, pool, readable(pool.Spec.CIDRs))...)
	}
	if len(pools) == 0 {
		return
	}
	others = append(others, pools...)
	for i := range d.snapshot.Nodes {
		others = append(others, addressClaims(&d.snapshot.Nodes[i])...)
		others = append(others, parseClaims(&d.snapshot.Nodes[i], nil)...)
	}
	others = append(others, d.routerClaims()...)
	found := map[string][]ipam.Conflict{}
	for _, c := range ipam.Conflicts(pools, others) {
		found[c.Own.Name] = append(found[c.Own.Name], c)
	}
	for i := range d.snapshot.Pools {
		if name := d.snapshot.Pools[i].Name; len(found[name]) > 0 {
			d.problem("AddressPool/"+name, "Overlap", "%s", summary(found[name]))
		}
	}
}

// routerClaims are the addresses of the datacenter's routers.
func (d *decision) routerClaims() []ipam.Claim {
	var claims []ipam.Claim
	if d.datacenter != nil {
		for _, router := range d.datacenter.Spec.Gateways {
			claims = append(claims, addressClaim(ipam.DatacenterNetwork, d.datacenter.Name+" (gateway "+router.Name+")", router.Address)...)
		}
	}
	return claims
}

// checkPeers finds sessions that a node cannot have because it has one with the same address, and keys that are not there.
func (d *decision) checkPeers() {
	told := map[string]bool{}
	selectors := map[string]labels.Selector{}
	fixed := map[netip.Addr][]*v1alpha1.BGPPeer{}
	var annotated []*v1alpha1.BGPPeer
	for i := range d.snapshot.Peers {
		p := &d.snapshot.Peers[i]
		d.checkPassword(p)
		selector, err := v1alpha1.Selector(p.Spec.NodeSelector)
		selectors[p.Name] = selector
		if err != nil {
			selectors[p.Name] = labels.Everything()
			continue
		}
		if p.Spec.FromNodeAnnotation != "" {
			annotated = append(annotated, p)
		} else if a, err := netip.ParseAddr(p.Spec.Address); err == nil {
			fixed[a.Unmap()] = append(fixed[a.Unmap()], p)
		}
	}
	compare := func(node *corev1.Node, address netip.Addr, peers []*v1alpha1.BGPPeer) {
		var first *v1alpha1.BGPPeer
		for _, p := range peers {
			switch {
			case !selectors[p.Name].Matches(labels.Set(node.Labels)):
			case first == nil:
				first = p
			case !told[p.Name]:
				told[p.Name] = true
				d.problem("BGPPeer/"+p.Name, "Duplicate", "on Node %s BGPPeer %s has the same address %s: one of the two is ignored there",
					node.Name, first.Name, address)
			}
		}
	}
	for i := range d.snapshot.Nodes {
		node := &d.snapshot.Nodes[i]
		for address, peers := range fixed {
			if len(peers) > 1 {
				compare(node, address, peers)
			}
		}
		own := map[netip.Addr][]*v1alpha1.BGPPeer{}
		for _, p := range annotated {
			if a, err := netip.ParseAddr(node.Annotations[p.Spec.FromNodeAnnotation]); err == nil {
				own[a.Unmap()] = append(own[a.Unmap()], p)
			}
		}
		for address, peers := range own {
			compare(node, address, slices.Concat(fixed[address], peers))
		}
	}
}

// checkPassword looks for the key of a session, if the snapshot has any Secrets: many who check have none at hand.
func (d *decision) checkPassword(p *v1alpha1.BGPPeer) {
	key := p.Spec.PasswordSecret
	if key == nil || len(d.snapshot.Secrets) == 0 {
		return
	}
	for i := range d.snapshot.Secrets {
		s := &d.snapshot.Secrets[i]
		if s.Namespace == key.Namespace && s.Name == key.Name && (s.StringData[key.Key] != "" || len(s.Data[key.Key]) > 0) {
			return
		}
	}
	d.problem("BGPPeer/"+p.Name, "MissingSecret", "there is no key %q in Secret %s/%s", key.Key, key.Namespace, key.Name)
}

// checkRoles finds roles that would fight over a label: the older keeps it.
func (d *decision) checkRoles() {
	var roles []*v1alpha1.NodeRole
	for i := range d.snapshot.Roles {
		roles = append(roles, &d.snapshot.Roles[i])
	}
	slices.SortFunc(roles, func(a, b *v1alpha1.NodeRole) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	first := map[v1alpha1.RoleLabel]string{}
	for _, role := range roles {
		label := role.Spec.Label
		if other, taken := first[label]; taken {
			d.problem("NodeRole/"+role.Name, "Duplicate", "NodeRole %s keeps the label %s=%s already: this one does nothing", other, label.Key, label.Value)
			continue
		}
		first[label] = role.Name
	}
}

// checkExports finds exports for gateways that there are not.
func (d *decision) checkExports() {
	var gateways []v1alpha1.Gateway
	if d.datacenter != nil {
		gateways = d.datacenter.Spec.Gateways
	}
	for i := range d.snapshot.Exports {
		e := &d.snapshot.Exports[i]
		if slices.ContainsFunc(gateways, func(g v1alpha1.Gateway) bool { return g.Name == e.Spec.Gateway }) || e.Spec.Gateway == "" {
			continue
		}
		has := "no gateways"
		if len(gateways) > 0 {
			has = gatewayNames(gateways)
		}
		d.problem("StaticRouteExport/"+e.Name, "MissingGateway", "the DatacenterNetwork has no gateway %q; it has %s", e.Spec.Gateway, has)
	}
}

// checkRegistries finds checks that prove no policy.
func (d *decision) checkRegistries() {
	for i := range d.snapshot.Registries {
		c := &d.snapshot.Registries[i]
		if c.Spec.EgressPolicy == "" {
			continue
		}
		at := slices.IndexFunc(d.snapshot.Policies, func(p v1alpha1.EgressPolicy) bool { return p.Name == c.Spec.EgressPolicy })
		switch {
		case at < 0:
			d.problem("RegistryCheck/"+c.Name, "MissingPolicy", "there is no EgressPolicy %s", c.Spec.EgressPolicy)
		case d.snapshot.Policies[at].Spec.Source != v1alpha1.SourcePod:
			d.problem("RegistryCheck/"+c.Name, "NotProvable", "EgressPolicy %s has source: %s: only with Pod a registry sees pod addresses",
				c.Spec.EgressPolicy, d.snapshot.Policies[at].Spec.Source)
		}
	}
}

// claimsOf are the claims of an object.
func claimsOf(kind ipam.Kind, o metav1.Object, prefixes []netip.Prefix) []ipam.Claim {
	var claims []ipam.Claim
	for _, prefix := range prefixes {
		claims = append(claims, ipam.Claim{Kind: kind, Name: o.GetName(), Prefix: prefix, Created: o.GetCreationTimestamp().Time})
	}
	return claims
}

// readable are those of a list that are prefixes.
func readable(list []string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range list {
		if prefix, err := v1alpha1.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// summary is the first of some conflicts and how many more there are.
func summary(conflicts []ipam.Conflict) string {
	if n := len(conflicts) - 1; n > 0 {
		return fmt.Sprintf("%v; and %d more", conflicts[0], n)
	}
	return conflicts[0].String()
}
