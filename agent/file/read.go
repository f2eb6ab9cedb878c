package file

import (
	"log/slog"

	"github.com/waymark-bgp/waymark/agent"
)

// Read is what manifests say, given by the names that problems are to have. Where each object stands is in where, by the
// object as a Problem names it.
func Read(manifests map[string][]byte) (snapshot agent.Snapshot, where map[string]string) {
	d := directory{log: slog.New(slog.DiscardHandler), manifests: map[string]*manifest{}}
	for name, data := range manifests {
		m := &manifest{}
		d.manifests[name] = m
		d.update(name, m, read(name, data))
	}
	snapshot = d.snapshot()
	where = map[string]string{}
	for id, o := range d.inForce {
		where[id.String()] = o.where
	}
	return snapshot, where
}
