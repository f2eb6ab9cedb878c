package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

// shownClients is how many addresses of clients without findings are printed unless all are asked for.
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
	for _, s := range r.Servers {
		own, seen, err := pod.seenAs(ctx, asker, s.Server)
		if err != nil {
			r.add(registry.NotAsked, fmt.Sprintf("from pod %s to %s: %v", pod.name, s.Server, err))
			continue
		}
		sight := registry.JudgeSight(cluster, s.Server, pod.name, own, seen)
		r.Sights = append(r.Sights, sight)
		if !sight.OK {
			r.add(registry.Masqueraded, sight.Message)
		}
	}
}

func (r *zooKeeperReport) print(w io.Writer) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "SERVER\tVERSION\tMODE\tCONNECTIONS\tLIMIT OF ONE ADDRESS\tREFUSED\n")
	for _, s := range r.Servers {
		fmt.Fprintf(p, "%s\t%s\t%s\t%d\t%s\t%s\n", s.Server, cmp.Or(s.Version, "-"), cmp.Or(s.Mode, "-"), s.Connections, limitText(s.Limit), known(s.Refused))
	}
	fmt.Fprintf(p, "\nSERVER\tCLIENT\tCONNECTIONS\tOF\tSESSIONS\tWHO\n")
	for i := range r.Clients {
		c := &r.Clients[i]
		if i >= shownClients && len(c.Findings) == 0 && !r.all {
			fmt.Fprintf(p, "and more, %d in all: --all prints them\n", len(r.Clients))
			break
		}
		fmt.Fprintf(p, "%s\t%s\t%d\t%s\t%d\t%s\n", c.Server, c.Address, c.Connections, limitText(c.Limit), c.Sessions, c.Who())
	}
	if len(r.Clients) == 0 {
		fmt.Fprintln(p, "none")
	}
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
	for _, f := range r.Forecasts {
		line("Forecast: %s", f.Message())
	}
	for _, note := range r.Notes {
		line("Note: %s", note)
	}
	for _, f := range r.Findings {
		line("%s: %s", f.Reason, f.Message)
	}
	if len(r.Findings) == 0 {
		line("Nothing found")
	}
	return nil
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
