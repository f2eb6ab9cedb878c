package kube

import "github.com/waymark-bgp/waymark/agent"

// untold are the lists that have never been told: those that the API server refuses, because their kind is not defined or the
// account has no right to it, and those that may come by waiting.
func (s *Source) untold() (refused, awaited []request) {
	for r, l := range s.lists {
		switch {
		case l.isSynced():
		case s.health.refuses(r):
			refused = append(refused, r)
		default:
			awaited = append(awaited, r)
		}
	}
	return refused, awaited
}

// fill takes what is refused from the snapshot that an earlier agent has kept, and says whether there is one. Until all has
// once been told, a kind that is refused is as it was.
func (s *Source) fill(snapshot *agent.Snapshot, refused []request) bool {
	kept := s.kept()
	for _, r := range refused {
		switch r.kind {
		case "Node":
			snapshot.Nodes = kept.Nodes
		case "NodeRoutingState":
			snapshot.State = kept.State
		case "BGPConfiguration":
			snapshot.Configurations = kept.Configurations
		case "BGPPeer":
			snapshot.Peers = kept.Peers
		case "EgressPolicy":
			snapshot.Policies = kept.Policies
		case "AddressPool":
			snapshot.Pools = kept.Pools
		case "DatacenterNetwork":
			snapshot.Datacenters = kept.Datacenters
		case "Pod":
			snapshot.Pods = kept.Pods
		case "Namespace":
			snapshot.Namespaces = kept.Namespaces
		case "Secret":
			for i := range kept.Secrets {
				if secret := &kept.Secrets[i]; secret.Namespace == r.namespace && secret.Name == r.name {
					snapshot.Secrets = append(snapshot.Secrets, *secret)
				}
			}
		}
	}
	return kept.Synced
}
