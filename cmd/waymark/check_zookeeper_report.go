package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

// shownClients is how many addresses, forecasts and findings are printed, of each, unless all are asked for.
const shownClients = 20

// zooKeeperReport is what servers say of their clients.
type zooKeeperReport struct {
	Servers   []zooKeeperServer   `json:"servers"`
	Clients   []registry.Client   `json:"clients"`
	Forecasts []registry.Forecast `json:"forecasts"`
	Sights    []registry.Sight    `json:"fromPod"` // of --from-pod
	Findings  []registry.Finding  `json:"findings"`
	Notes     []string            `json:"notes"`
	all       bool
}

type zooKeeperServer struct {
	Server      string `json:"server"`
	Version     string `json:"version,omitempty"`
	Mode        string `json:"mode,omitempty"`
	Connections int    `json:"connections"`
	Limit       int    `json:"limit"`   // of one address; 0: there is none, -1: not known
	Refused     int64  `json:"refused"` // connections since it started; -1: not known
	Error       string `json:"error,omitempty"`
}

func newZooKeeperReport(cluster registry.Cluster, servers []registry.Server, failed map[string]error, notes []string) *zooKeeperReport {
	r := &zooKeeperReport{Sights: []registry.Sight{}, Findings: []registry.Finding{}, Notes: list(notes)}
	for i := range servers {
		s := &servers[i]
		one := zooKeeperServer{s.Name, s.Version, s.Mode, len(s.Connections), s.Limit, s.Refused, ""}
		if err := failed[s.Name]; err != nil {
			one.Error = err.Error()
			r.add(registry.NotAsked, one.Error)
		}
		r.Servers = append(r.Servers, one)
	}
	r.Clients, r.Forecasts = registry.JudgeConnections(cluster, servers)
	for i := range r.Clients {
		r.Findings = append(r.Findings, r.Clients[i].Findings...)
	}
	return r
}

func (r *zooKeeperReport) add(reason registry.Reason, message string) {
	r.Findings = append(r.Findings, registry.Finding{Reason: reason, Message: message})
}

// look connects to each server from a pod.
func (r *zooKeeperReport) look(ctx context.Context, asker zookeeper.Asker, cluster registry.Cluster, pod *insidePod) {
	type look struct {
		own, seen netip.Addr
		err       error
	}
	looks := make([]look, len(r.Servers))
	var looking sync.WaitGroup
	for i, s := range r.Servers { // all at once: some may never answer
		looking.Go(func() {
			l := &looks[i]
			l.own, l.seen, l.err = pod.seenAs(ctx, asker, s.Server)
		})
	}
	looking.Wait()
	byClients := r.Findings
	r.Findings = []registry.Finding{} // the proof comes first
	for i, s := range r.Servers {
		l := &looks[i]
		if l.err != nil {
			r.add(registry.NotAsked, fmt.Sprintf("from pod %s to %s: %v", pod.name, s.Server, l.err))
			continue
		}
		sight := registry.JudgeSight(cluster, s.Server, pod.name, l.own, l.seen)
		r.Sights = append(r.Sights, sight)
		if !sight.OK {
			r.add(registry.Masqueraded, sight.Message)
		}
	}
	r.Findings = append(r.Findings, byClients...)
}

func (r *zooKeeperReport) print(w io.Writer) error {
	w = visible{w}
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "SERVER\tVERSION\tMODE\tCONNECTIONS\tLIMIT OF ONE ADDRESS\tREFUSED\n")
	for _, s := range r.Servers {
		fmt.Fprintf(p, "%s\t%s\t%s\t%d\t%s\t%s\n", s.Server, cmp.Or(s.Version, "-"), cmp.Or(s.Mode, "-"), s.Connections, limitText(s.Limit), known(s.Refused))
	}
	fmt.Fprintf(p, "\nSERVER\tCLIENT\tCONNECTIONS\tOF\tSESSIONS\tWHO\n")
	clients := slices.Clone(r.Clients)
	slices.SortStableFunc(clients, func(a, b registry.Client) int {
		return cmp.Compare(rank(len(a.Findings) == 0), rank(len(b.Findings) == 0))
	})
	for i := range clients[:r.shown(len(clients))] {
		c := &clients[i]
		fmt.Fprintf(p, "%s\t%s\t%d\t%s\t%d\t%s\n", c.Server, c.Address, c.Connections, limitText(c.Limit), c.Sessions, c.Who())
	}
	if len(r.Clients) == 0 {
		fmt.Fprintln(p, "none")
	}
	r.more(p, len(clients))
	if err := p.Flush(); err != nil {
		return err
	}
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("")
	for _, s := range r.Sights {
		if s.OK {
			line("Right: %s", s.Message)
		}
	}
	for _, f := range r.Forecasts[:r.shown(len(r.Forecasts))] {
		line("Forecast: %s", f.Message())
	}
	r.more(w, len(r.Forecasts))
	for _, note := range r.Notes {
		line("Note: %s", note)
	}
	for _, f := range r.Findings[:r.shown(len(r.Findings))] {
		line("%s: %s", f.Reason, f.Message)
	}
	r.more(w, len(r.Findings))
	if len(r.Findings) == 0 {
		line("Nothing found")
	}
	return nil
}

func (r *zooKeeperReport) shown(n int) int {
	if r.all {
		return n
	}
	return min(n, shownClients)
}

func (r *zooKeeperReport) more(w io.Writer, n int) {
	if rest := n - r.shown(n); rest > 0 {
		fmt.Fprintf(w, "and %d more: --all prints them\n", rest)
	}
}

func limitText(limit int) string {
	if limit == 0 {
		return "none"
	}
	return known(int64(limit))
}

func known(n int64) string {
	if n == registry.Unknown {
		return "unknown"
	}
	return fmt.Sprint(n)
}
