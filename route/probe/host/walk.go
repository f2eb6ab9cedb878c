package host

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route/probe"
)

const (
	furthest = 30 // TTL
	together = 8  // TTLs that are asked for at once
	quiet    = 4  // silent TTLs behind which nobody is looked for
)

// walk finds out who is on the way to one address.
type walk struct {
	network *probe.Network
	target  *probe.Target
	address netip.Addr
	sockets []*socket
	wait    time.Duration
	near    int               // the least TTL of other nodes of the network; 0: unknown
	hops    map[int]probe.Hop // those that were asked for
	failed  error             // of the kernel, for the last probe that it did not send
}

func (w *walk) close() {
	for _, s := range w.sockets {
		s.close()
	}
}

// find walks to the address. At the TTL of its neighbours the node is looked for first, since routers limit how much they
// answer, and are asked by all walks.
func (w *walk) find(ctx context.Context, tries int) probe.Finding {
	if w.near > 0 {
		w.round(ctx, max(1, w.near-1), w.near, false)
		if f := w.judge(); f.Verdict == probe.Right {
			return f
		}
	}
	for low := 1; low <= furthest; low += together {
		high := min(low+together-1, furthest)
		for try := range tries {
			w.round(ctx, low, high, try > 0)
			if end := w.end(); ctx.Err() != nil || w.sure(try, high) || end > 0 && w.missing(1, end) == 0 {
				return w.judge()
			}
		}
		if w.end() > 0 || w.missing(high-quiet+1, high) == quiet {
			break
		}
	}
	return w.judge()
}

// judge says what is known by now.
func (w *walk) judge() probe.Finding {
	var hops []probe.Hop
	silent := 0
	for _, ttl := range slices.Sorted(maps.Keys(w.hops)) {
		h := w.hops[ttl]
		silent++
		if h.Kind != probe.Nothing {
			silent = 0
		}
		hops = append(hops, h)
		if w.final(h) {
			break
		}
	}
	hops = hops[:len(hops)-max(0, silent-1)]
	f := w.network.Judge(w.target, w.address, hops, w.near)
	if f.Verdict == probe.Silent && w.failed != nil {
		f.Verdict, f.Reason = probe.NoWay, "this machine does not send: "+w.failed.Error()
	}
	return f
}

// sure says that more answers would not change the verdict. Who is in a loop may be among those that are silent at first.
func (w *walk) sure(try, high int) bool {
	switch w.judge().Verdict {
	case probe.Right, probe.WrongNode, probe.WrongGateway:
		return true
	case probe.Loop:
		return try > 0 || w.missing(1, high) == 0
	}
	return false
}

// final says that a packet goes no further than this hop.
func (w *walk) final(h probe.Hop) bool {
	return h.Kind != probe.Nothing && h.Kind != probe.Exceeded
}

// end is the first TTL at which packets have come to their end or to the node; 0: unknown.
func (w *walk) end() int {
	end := 0
	for ttl, h := range w.hops {
		if (w.final(h) || h.Kind != probe.Nothing && w.network.Nodes[h.From] == w.target.Node) && (end == 0 || ttl < end) {
			end = ttl
		}
	}
	return end
}

// missing counts the TTLs that have no answer.
func (w *walk) missing(low, high int) int {
	n := 0
	for ttl := low; ttl <= high; ttl++ {
		if w.hops[ttl].Kind == probe.Nothing {
			n++
		}
	}
	return n
}

// round asks for the TTLs that have no answer yet, and waits for answers. Unless it is patient, it does not wait long for those
// that are before the end.
func (w *walk) round(ctx context.Context, low, high int, patient bool) {
	begin := time.Now()
	deadline := begin.Add(w.wait)
	for ttl := low; ttl <= high; ttl++ {
		if w.hops[ttl].Kind != probe.Nothing {
			continue
		}
		w.hops[ttl] = probe.Hop{TTL: ttl}
		for _, s := range w.sockets {
			if err := s.send(ttl); err != nil {
				w.failed = err
			}
		}
	}
	ended := false
	for ctx.Err() == nil {
		w.hear()
		end := w.end()
		if w.missing(low, high) == 0 || end > 0 && w.missing(low, min(high, end)) == 0 {
			return
		}
		now := time.Now()
		if end > 0 && !ended && !patient {
			ended = true
			deadline = minTime(deadline, now.Add(20*time.Millisecond+4*now.Sub(begin)))
		}
		left := deadline.Sub(now)
		if left <= 0 {
			return
		}
		w.poll(min(left, 200*time.Millisecond)) // ctx is looked at in between
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (w *walk) poll(most time.Duration) {
	fds := make([]unix.PollFd, len(w.sockets))
	for i, s := range w.sockets {
		fds[i] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	}
	timeout := unix.NsecToTimespec(int64(most))
	if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		w.failed = err
	}
}

// hear takes what has come back. Of two answers for a TTL, to UDP and to an echo request, the one counts that has come
// further: a filter may be for one of them.
func (w *walk) hear() {
	rank := []probe.Kind{probe.Nothing, probe.Prohibited, probe.Unreachable, probe.Reached, probe.Exceeded}
	for _, s := range w.sockets {
		for _, h := range s.receive() {
			old, asked := w.hops[h.TTL]
			if asked && slices.Index(rank, h.Kind) > slices.Index(rank, old.Kind) {
				w.hops[h.TTL] = h
			}
		}
	}
}
