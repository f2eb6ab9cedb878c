package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
)

// The bounds of the time between two attempts to connect.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// Client is the agent's side. It connects again whenever the connection ends, and then tells anew what is wanted. It
// is safe for concurrent use.
type Client struct {
	path   string
	notify func()
	log    *slog.Logger
	tell   chan struct{} // readable: the server does not know want yet

	mu        sync.Mutex
	want      *bfd.Config // nil: nothing was set yet, so nothing is to be changed
	report    Report
	connected bool
}

// NewClient makes a client of the waymark-bfd in the run directory dir. notify is called, from Run, after every report and
// when the connection comes or goes; it must not block.
func NewClient(dir string, notify func(), log *slog.Logger) *Client {
	return &Client{path: filepath.Join(dir, SocketName), notify: notify, log: log, tell: make(chan struct{}, 1)}
}

// Set makes config the whole of what is wanted. The caller must not change its slices any more. Before the first Set the
// client only follows.
func (c *Client) Set(config bfd.Config) {
	if config.Sessions == nil {
		config.Sessions = []bfd.SessionConfig{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want = &config
	poke(c.tell)
}

// Report returns the last report, and whether it is from the present connection. A lost connection says nothing about the
// sessions. The report's slice and maps must not be changed.
func (c *Client) Report() (Report, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report, c.connected
}

// Run keeps the connection until ctx ends. It returns nil: that waymark-bfd cannot be reached is a state, not an error.
func (c *Client) Run(ctx context.Context) error {
	backoff := minBackoff
	var last string // complain once, not at every attempt
	for {
		started, err := c.converse(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if started {
			backoff, last = minBackoff, ""
		}
		if err.Error() != last {
			last = err.Error()
			c.log.Log(ctx, c.urgency(), "no connection to waymark-bfd", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// urgency of a missing waymark-bfd: none while no session is wanted.
func (c *Client) urgency() slog.Level {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want == nil || len(c.want.Sessions)+len(c.want.Passive) == 0 {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// converse holds one connection until it ends. It tells whether there was a report on it.
func (c *Client) converse(ctx context.Context) (started bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.path)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	context.AfterFunc(ctx, func() { conn.Close() })
	poke(c.tell)
	wait.Go(func() {
		defer cancel()
		c.write(ctx, conn)
	})
	defer func() {
		if started {
			c.take(false, nil)
		}
	}()
	in := json.NewDecoder(conn)
	for {
		var report Report
		if err := in.Decode(&report); err != nil {
			return started, fmt.Errorf("read from %s: %w", c.path, err)
		}
		if report.Version != Version {
			return started, fmt.Errorf("waymark-bfd speaks version %d, not %d", report.Version, Version)
		}
		if !started {
			started = true
			c.log.Info("connected to waymark-bfd", "instance", report.Instance)
		}
		c.take(true, &report)
	}
}

// write tells what is wanted after the connection was made, and after each Set.
func (c *Client) write(ctx context.Context, conn net.Conn) {
	out := json.NewEncoder(conn)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.tell:
		}
		c.mu.Lock()
		want := c.want
		c.mu.Unlock()
		if want == nil {
			continue
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := out.Encode(request{Version: Version, Config: *want}); err != nil {
			return // converse says why
		}
	}
}

func (c *Client) take(connected bool, report *Report) {
	c.mu.Lock()
	c.connected = connected
	if report != nil {
		c.report = *report
	}
	c.mu.Unlock()
	c.notify()
}
