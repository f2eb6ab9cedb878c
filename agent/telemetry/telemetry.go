// Package telemetry shows what the agent does: its status on a Unix socket for the waymark command, health and Prometheus
// metrics on a TCP address.
package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waymark-bgp/waymark/agent"
)

// SocketName of the status socket in the run directory.
const SocketName = "agent.sock"

// hung is how long a pass may take: one over 100,000 new routes takes under a second.
const hung = 30 * time.Second

// Server answers from what the agent says at that moment.
type Server struct {
	Status func() agent.Status
	// Learned is every learned prefix with its next hops.
	Learned iter.Seq2[netip.Prefix, []netip.Addr]
}

// LearnedRoute is one element of the answer to GET /routes.
type LearnedRoute struct {
	Prefix   netip.Prefix `json:"prefix"`
	NextHops []netip.Addr `json:"nextHops"`
}

// ServeStatus answers GET /status and GET /routes as JSON until ctx ends. The listener is one that only root can reach.
func (s *Server) ServeStatus(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Status()) })
	mux.HandleFunc("GET /routes", func(w http.ResponseWriter, _ *http.Request) {
		routes := []LearnedRoute{}
		for prefix, hops := range s.Learned {
			routes = append(routes, LearnedRoute{prefix, hops})
		}
		slices.SortFunc(routes, func(a, b LearnedRoute) int { return a.Prefix.Compare(b.Prefix) })
		answer(w, routes)
	})
	return serve(ctx, listener, mux)
}

// ServeMetrics answers /metrics, /healthz and /readyz until ctx ends.
func (s *Server) ServeMetrics(ctx context.Context, listener net.Listener) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{s.Status}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if began := s.Status().PassBegan; !began.IsZero() && time.Since(began) > hung {
			http.Error(w, fmt.Sprintf("the agent has been at one pass since %v", began), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if status := s.Status(); !status.Ready {
			http.Error(w, notReady(status), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return serve(ctx, listener, mux)
}

// notReady says why, and below it what was last heard of each session that is down.
func notReady(s agent.Status) string {
	text := s.NotReady
	for _, p := range s.Peers {
		if p.LastError != "" {
			text += fmt.Sprintf("\n%s (%s): %s", p.Name, p.Address, p.LastError)
		}
	}
	return text
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	}
	return nil
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}
