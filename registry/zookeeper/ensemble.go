package zookeeper

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/waymark-bgp/waymark/registry"
)

// maxMembers is to how many servers a server may send us on.
const maxMembers = 20

// AskEnsemble asks the servers, each HOST:PORT, and those that they say belong to them. The errors of Ask are by server.
func (a Asker) AskEnsemble(ctx context.Context, names []string) ([]registry.Server, map[string]error) {
	servers, failed := a.askAll(ctx, names)
	others, failures := a.askAll(ctx, unnamed(servers, names))
	maps.Copy(failed, failures)
	return append(servers, others...), failed
}

func (a Asker) askAll(ctx context.Context, names []string) ([]registry.Server, map[string]error) {
	servers, failures := make([]registry.Server, len(names)), make([]error, len(names))
	var asking sync.WaitGroup
	for i, name := range names {
		asking.Go(func() { servers[i], failures[i] = a.Ask(ctx, name) })
	}
	asking.Wait()
	failed := map[string]error{}
	for i, err := range failures {
		if err != nil {
			failed[names[i]] = err
		}
	}
	return servers, failed
}

// unnamed are members of ensembles that were not asked yet. One that was asked by another name is known by its ID.
func unnamed(servers []registry.Server, names []string) []string {
	var more []string
	for i := range servers {
		s := &servers[i]
		for id, address := range s.Members {
			asked := slices.ContainsFunc(servers, func(t registry.Server) bool { return t.ID == id && maps.Equal(t.Members, s.Members) })
			if !asked && !slices.Contains(names, address) && !slices.Contains(more, address) {
				more = append(more, address)
			}
		}
	}
	slices.Sort(more)
	return more[:min(len(more), maxMembers)]
}
