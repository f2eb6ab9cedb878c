package control

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/internal/rundir"
)

const (
	// refresh is how often counters are reported when no state changes.
	refresh = 5 * time.Second
	// writeTimeout ends the connection to a client that does not read.
	writeTimeout = 5 * time.Second
)

// Sessions is what holds the sessions: udp.Speaker.
type Sessions interface {
	// Set makes config the whole of what is held. If any of it is invalid, all stays as it is.
	Set(config bfd.Config) error
	// Status of all sessions, and how many packets belonged to none.
	Status() bfd.Report
	// Changed is readable after wanted sessions, or what they and their peers say, have changed.
	Changed() <-chan struct{}
}

// Server offers Sessions on the socket. Many clients may follow; the last Set counts.
type Server struct {
	dir      string
	sessions Sessions
	log      *slog.Logger
	instance string

	mu      sync.Mutex
	clients map[chan struct{}]bool
}

// NewServer makes a server of the socket in the run directory dir.
func NewServer(dir string, sessions Sessions, log *slog.Logger) *Server {
	return &Server{dir: dir, sessions: sessions, log: log, instance: rand.Text(), clients: map[chan struct{}]bool{}}
}

// Run serves until ctx ends. It fails if another waymark-bfd serves the same directory.
func (s *Server) Run(ctx context.Context) error {
	lock, err := rundir.Lock(s.dir, "waymark-bfd")
	if err != nil {
		return err
	}
	defer lock.Close()
	path := filepath.Join(s.dir, SocketName)
	l, err := rundir.Listen(path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	defer os.Remove(path)

	var wait sync.WaitGroup
	defer wait.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { l.Close() })
	wait.Go(func() { s.broadcast(ctx) })
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on %s: %w", path, err)
		}
		wait.Go(func() { s.serve(ctx, conn) })
	}
}

// broadcast wakes all clients' writers after a change, and now and then for the counters.
func (s *Server) broadcast(ctx context.Context) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.sessions.Changed():
		case <-tick.C:
		}
		s.mu.Lock()
		for client := range s.clients {
			poke(client)
		}
		s.mu.Unlock()
	}
}

func poke(client chan struct{}) {
	select {
	case client <- struct{}{}:
	default:
	}
}

// serve speaks with one client until it goes, or ctx ends.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { conn.Close() })

	client := make(chan struct{}, 1)
	poke(client)
	s.mu.Lock()
	s.clients[client] = true
	s.mu.Unlock()
	refused := make(chan error, 1)
	var wait sync.WaitGroup
	wait.Go(func() { s.write(ctx, conn, client, refused) })
	s.read(ctx, conn, refused)
	cancel()
	wait.Wait()
	s.mu.Lock()
	delete(s.clients, client)
	s.mu.Unlock()
}

// write reports whenever there is news: for all clients, or about a request of this one.
func (s *Server) write(ctx context.Context, conn *net.UnixConn, client <-chan struct{}, refused <-chan error) {
	var refusal error
	out := json.NewEncoder(conn)
	for {
		select {
		case <-ctx.Done():
			return
		case refusal = <-refused:
		case <-client:
		}
		report := Report{Version: Version, Instance: s.instance, Report: s.sessions.Status()}
		if refusal != nil {
			report.Error = refusal.Error()
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := out.Encode(report); err != nil {
			// The client has gone or hangs. What it has asked for before is read to the end, and its end closes.
			_ = conn.CloseWrite()
			return
		}
	}
}

// read carries out requests and passes on why one was refused, or nil.
func (s *Server) read(ctx context.Context, conn net.Conn, refused chan error) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		req, err := parseRequest(lines.Bytes())
		if err == nil {
			err = s.sessions.Set(req.Config)
		}
		if err != nil {
			s.log.Error("BFD request refused, sessions stay as they are", "error", err)
		}
		select {
		case <-refused: // of an earlier request, not reported yet
		default:
		}
		refused <- err
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		s.log.Error("BFD request cannot be read", "error", err)
	}
}
