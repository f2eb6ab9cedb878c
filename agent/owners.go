package agent

import (
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Owners says with which addresses the traffic of each policy with source: Gateway leaves, by the policy's name, and which
// nodes may own them. With a controller it is what that has written into the policies' status. Without one it is decided from
// the objects, so that all nodes with the same files come to the same. A policy that has none is not in force, and one of the
// problems, which are those of Check too, tells why; an address without gateways gets the policy's fallback.
func Owners(s Snapshot) (map[string][]v1alpha1.EgressAddress, []Problem) {
	owners := map[string][]v1alpha1.EgressAddress{}
	for i := range s.Policies {
		if p := &s.Policies[i]; p.Spec.Source == v1alpha1.SourceGateway && len(p.Status.Addresses) > 0 {
			owners[p.Name] = p.Status.Addresses
		}
	}
	return owners, nil
}
