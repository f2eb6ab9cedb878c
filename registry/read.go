package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Bad is an entry that cannot be understood.
type Bad struct {
	Registry string `json:"registry"`
	Path     string `json:"path"`
	Message  string `json:"message"`
}

// Entries are what registries have.
type Entries struct {
	Providers []Provider
	Bad       []Bad
}

// Read reads all registries. With an error there is still what could be read. Progress is called as entries are read; nil:
// nobody wants to know.
func Read(ctx context.Context, sources []Source, progress func(entries int)) (Entries, error) {
	var e Entries
	var errs []error
	for _, s := range sources {
		errs = append(errs, s.Providers(ctx, func(p Provider, err error) error {
			if err != nil {
				e.Bad = append(e.Bad, Bad{p.Registry, p.Path, err.Error()})
			} else {
				e.Providers = append(e.Providers, p)
			}
			if progress != nil {
				progress(len(e.Providers) + len(e.Bad))
			}
			return ctx.Err()
		}))
	}
	return e, errors.Join(errs...)
}

// Targets are what is to be probed: not what would be this host itself, or a neighbour of it.
func Targets(cluster Cluster, providers []Provider) []Target {
	x := cluster.index()
	known := map[Target]bool{}
	classes := map[string]bool{} // by host, whether it may be probed
	var targets []Target
	for _, p := range providers {
		t := p.Target()
		if known[t] {
			continue
		}
		known[t] = true
		may, asked := classes[t.Host]
		if !asked {
			at := x.find(t.Host)
			may = at.class != Loopback && at.class != LinkLocal && at.class != Unusable && !at.bridge.Seen
			classes[t.Host] = may
		}
		if may {
			targets = append(targets, t)
		}
	}
	return targets
}

// Count says how many there are of a class.
type Count struct {
	Class     Class `json:"class"`
	Addresses int   `json:"addresses"`
	Providers int   `json:"providers"`
	Reachable int   `json:"reachable"` // of the providers
}

// Counts are by class, sorted.
func Counts(endpoints []Endpoint) []Count {
	counts := []Count{}
	for i := range endpoints {
		e := &endpoints[i]
		at := slices.IndexFunc(counts, func(c Count) bool { return c.Class == e.Class })
		if at < 0 {
			at = len(counts)
			counts = append(counts, Count{Class: e.Class})
		}
		counts[at].Addresses++
		counts[at].Providers += len(e.Providers)
		for _, p := range e.Providers {
			if slices.ContainsFunc(e.Answers, func(s Spoken) bool { return s.Protocol == p.Protocol && s.Good() }) {
				counts[at].Reachable++
			}
		}
	}
	slices.SortFunc(counts, func(a, b Count) int { return strings.Compare(string(a.Class), string(b.Class)) })
	return counts
}
