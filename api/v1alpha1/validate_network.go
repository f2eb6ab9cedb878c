package v1alpha1

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Dialects are the router languages of static routes that a Gateway may have.
var Dialects = []string{
	"cisco-ios", "cisco-iosxr", "cisco-nxos", "arista-eos", "huawei-vrp", "h3c-comware", "juniper-junos", "mikrotik", "vyos",
	"frr", "bird", "linux", "openbsd", "json", "csv",
}

// Validate implements Object.
func (p *EgressPolicy) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	s := &p.Spec
	errs := checkMeta(&p.ObjectMeta)
	errs = append(errs, checkOptional(spec.Child("priority"), s.Priority, 0, 1<<31-1)...)
	if s.Pods != nil {
		errs = append(errs, checkSelector(spec.Child("pods", "namespaceSelector"), s.Pods.NamespaceSelector)...)
		errs = append(errs, checkSelector(spec.Child("pods", "podSelector"), s.Pods.PodSelector)...)
	}
	errs = append(errs, checkPrefixes(spec.Child("destinations"), s.Destinations)...)
	if s.DestinationsFrom != "" {
		errs = append(errs, checkOneOf(spec.Child("destinationsFrom"), s.DestinationsFrom, DestinationsFromDatacenterNetwork)...)
	}
	errs = append(errs, checkPrefixes(spec.Child("excludeDestinations"), s.ExcludeDestinations)...)
	errs = append(errs, checkOneOf(spec.Child("source"), s.Source, SourcePod, SourceNode, SourceGateway)...)
	switch {
	case s.Source == SourceGateway && s.Gateway == nil:
		errs = append(errs, field.Required(spec.Child("gateway"), "with source: Gateway"))
	case s.Source != SourceGateway && s.Gateway != nil:
		errs = append(errs, field.Forbidden(spec.Child("gateway"), "only with source: Gateway"))
	}
	return append(errs, s.Gateway.check(spec.Child("gateway"))...)
}

func (g *EgressGateway) check(path *field.Path) field.ErrorList {
	if g == nil {
		return nil
	}
	errs := checkSelector(path.Child("nodeSelector"), g.NodeSelector)
	for i, s := range g.Addresses {
		at := path.Child("addresses").Index(i)
		found := checkAddress(at, s)
		if a, err := netip.ParseAddr(s); len(found) == 0 && err == nil && !a.IsGlobalUnicast() {
			found = append(found, field.Invalid(at, s, "is not an address that others could answer to"))
		}
		if slices.Contains(g.Addresses[:i], s) {
			found = append(found, field.Duplicate(at, s))
		}
		errs = append(errs, found...)
	}
	if g.Pool != "" {
		errs = append(errs, checkName(path.Child("pool"), g.Pool, validation.IsDNS1123Subdomain)...)
		if len(g.Addresses) > 0 {
			errs = append(errs, field.Forbidden(path.Child("pool"), "excludes addresses: set one of the two"))
		}
	}
	if g.Fallback != "" {
		errs = append(errs, checkOneOf(path.Child("fallback"), g.Fallback, FallbackDrop, SourceNode, SourcePod)...)
	}
	return append(errs, g.BFD.check(path.Child("bfd"))...)
}

// Validate implements Object.
func (p *AddressPool) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkMeta(&p.ObjectMeta)
	errs = append(errs, checkSet(spec.Child("cidrs"), p.Spec.CIDRs)...)
	return append(errs, checkOneOf(spec.Child("use"), p.Spec.Use, UseEgress, UseLoadBalancer)...)
}

// checkSet wants at least one prefix, and no overlap among them.
func checkSet(path *field.Path, list []string) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, "at least one prefix")}
	}
	errs := checkPrefixes(path, list)
	if len(errs) > 0 {
		return errs
	}
	for i := range list {
		for j := range i {
			if a, b := netip.MustParsePrefix(list[j]), netip.MustParsePrefix(list[i]); a.Overlaps(b) {
				errs = append(errs, field.Invalid(path.Index(i), list[i], fmt.Sprintf("overlaps %v of the same list", a)))
				break
			}
		}
	}
	return errs
}

// Validate implements Object.
func (n *DatacenterNetwork) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkSingleton(&n.ObjectMeta)
	if len(n.Spec.CIDRs) == 0 {
		errs = append(errs, field.Required(spec.Child("cidrs"), "at least one prefix"))
	}
	for i, s := range n.Spec.CIDRs {
		p, perrs := checkPrefix(spec.Child("cidrs").Index(i), s)
		if len(perrs) == 0 && p.Bits() == 0 {
			perrs = append(perrs, field.Invalid(spec.Child("cidrs").Index(i), s, "is everything: no pod could have an address"))
		}
		errs = append(errs, perrs...)
	}
	errs = append(errs, checkPrefixes(spec.Child("clusterCIDRs"), n.Spec.ClusterCIDRs)...)
	seen := map[string]bool{}
	for i, g := range n.Spec.Gateways {
		path := spec.Child("gateways").Index(i)
		errs = append(errs, checkName(path.Child("name"), g.Name, validation.IsDNS1123Subdomain)...)
		if seen[g.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), g.Name))
		}
		seen[g.Name] = true
		errs = append(errs, checkAddress(path.Child("address"), g.Address)...)
		errs = append(errs, checkOneOf(path.Child("dialect"), g.Dialect, Dialects...)...)
		if len(g.NodeSubnets) == 0 {
			errs = append(errs, field.Required(path.Child("nodeSubnets"), "at least one prefix"))
		}
		errs = append(errs, checkPrefixes(path.Child("nodeSubnets"), g.NodeSubnets)...)
	}
	return errs
}

// ValidateNode returns what is wrong with the parts of a core/v1 Node that a node's agent reads: PodCIDRs and the
// annotations of this group.
func ValidateNode(podCIDRs []string, annotations map[string]string) field.ErrorList {
	errs := checkPrefixes(field.NewPath("spec", "podCIDRs"), podCIDRs)
	path := field.NewPath("metadata", "annotations")
	if s, ok := annotations[AnnotationASN]; ok {
		if asn, err := strconv.ParseInt(s, 10, 64); err != nil {
			errs = append(errs, field.Invalid(path.Key(AnnotationASN), s, "is not an AS number"))
		} else {
			errs = append(errs, checkASN(path.Key(AnnotationASN), asn)...)
		}
	}
	if s, ok := annotations[AnnotationRouterID]; ok {
		if a, err := netip.ParseAddr(s); err != nil || !a.Is4() || a.IsUnspecified() {
			errs = append(errs, field.Invalid(path.Key(AnnotationRouterID), s, "is not a router ID, which has the form of an IPv4 address"))
		}
	}
	return errs
}
