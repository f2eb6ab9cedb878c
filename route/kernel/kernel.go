// Package kernel writes the learned routes into the kernel's tables and keeps them there.
//
// Routes of ours bear route.Protocol. No message that it sends can take away or alter another program's route: a new route
// is added only where none has its prefix, table and metric (NLM_F_EXCL); a change adds the new gateways next to the old
// ones and then deletes the old ones, by our protocol number. NLM_F_REPLACE is never used, since it replaces whatever
// stands there, whoever has made it.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

// Table is the kernel's routes of ours. Its methods may be called by several goroutines.
type Table struct {
	events  atomic.Uint64 // counts what others changed in the kernel
	watched atomic.Bool   // events is up to date

	mu      sync.Mutex
	conn    *conn
	readAt  uint64 // events when the kernel was read; 0: never
	at      place  // where have stands
	have    map[key]entry
	strays  []owned       // ours, but elsewhere than at
	doubles []owned       // beside the route that counts: left by a crash between adding and deleting, or among foreign ones
	foreign map[key]uint8 // at the same place: the protocol numbers of others' routes
	host    route.Host
	sets    hopSets
	plans   *plans
	round   uint16
}

// entry is what is known of one of our routes.
type entry struct {
	hops      uint32 // number of its set of hops; 0: it is not in the kernel, or not read yet
	round     uint16 // the pass in which it was wanted last
	drifted   bool   // somebody else has altered or taken it
	inherited bool   // an earlier process has left it, and it has not been wanted since
}

// owned is a route of ours somewhere.
type owned struct {
	key  key
	at   place
	hops uint32
}

// New returns a Table that has not touched the kernel yet.
func New() *Table { return &Table{have: make(map[key]entry)} }

// Close gives the socket back. Routes stay.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		t.conn.close()
		t.conn = nil
	}
}

// Apply makes the routes of ours what desired says, and returns what has been reached, also with an error. A route that the
// kernel or the rules do not take is a refusal, not an error. What an earlier process left is taken over. Without a running
// Watch every call reads the kernel anew.
func (t *Table) Apply(ctx context.Context, desired route.Desired) (route.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var result route.Result
	// A second pass, when the first one meets a route that the last reading of the kernel has not told of.
	for last := range 2 {
		err := t.read(place{uint32(desired.Table), uint32(desired.Metric)})
		if err != nil {
			return result, err
		}
		result.Refused, result.RefusedN = nil, 0
		p := pass{Table: t, desired: desired, result: &result}
		err = p.run(ctx)
		result.Installed = len(t.have) + len(t.strays)
		if err != nil {
			t.readAt = 0
			return result, fmt.Errorf("apply routes: %w", err)
		}
		if !p.surprised || last == 1 {
			break
		}
		t.readAt = 0
	}
	return result, nil
}

// RemoveAll removes every route of ours, in every table.
func (t *Table) RemoveAll(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readAt = 0
	if err := t.read(t.at); err != nil {
		return err
	}
	all := slices.Concat(t.doubles, t.strays)
	for k, e := range t.have {
		all = append(all, owned{k, t.at, e.hops})
	}
	t.readAt = 0
	_, err := t.remove(ctx, all)
	return err
}

// Host tells the node's addresses and the routes of other programs. The caller must not change what it gets.
func (t *Table) Host() (route.Host, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.read(t.at)
	return t.host, err
}

// remove deletes routes, and returns how many of them are gone by it. One that is gone already is no error.
func (t *Table) remove(ctx context.Context, routes []owned) (int, error) {
	var errs []error
	removed := 0
	err := t.conn.write(ctx, len(routes), func(b []byte, i int) []byte {
		r := routes[i]
		var hops []route.Hop
		if !r.key.is4 {
			// Without gateways the kernel would delete all of the prefix's gateways in IPv6, another program's too. In
			// IPv4 it takes the first route of our protocol, which is the oldest.
			hops = t.sets.hops(r.hops)
		}
		return appendRoute(b, unix.RTM_DELROUTE, 0, r.at.of(r.key), r.key, hops, 0)
	}, func(i int, err error) {
		switch {
		case err == nil:
			removed++
		case errors.Is(err, unix.ESRCH):
		case len(errs) < route.MaxRefusals:
			errs = append(errs, fmt.Errorf("remove route %s: %w", routes[i].key.prefix(), err))
		}
	})
	return removed, errors.Join(append(errs, err)...)
}

// open opens the socket when it is needed first.
func (t *Table) open() (err error) {
	if t.conn == nil {
		t.conn, err = dial()
	}
	return err
}
