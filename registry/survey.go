package registry

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Survey probes many targets, each once.
type Survey struct {
	Dialer  Dialer
	Dials   int           // at most so many at a time
	Timeout time.Duration // of each
	// Progress is called as targets are done, from one goroutine at a time; nil: nobody wants to know.
	Progress func(done int)
	Tracer   Tracer // nil: nobody finds out how far packets come
}

// Tracer finds the last router that packets to an address come to; zero: none says so.
type Tracer interface {
	Trace(ctx context.Context, addr netip.Addr, port uint16) netip.Addr
}

// mostTraces is in how many networks it is found out how far packets come: ten pods behind one node tell no more than one.
const mostTraces = 32

// Where nobody answers, waiting for each of a thousand pods in turn takes long and says nothing new: when so many of a network
// have been silent, and none of it has answered, the others get a fraction of the time. So it is with those that accept
// connections and say nothing, as all do behind a firewall that accepts for them; who is asked up to three times waits half.
const (
	silentEnough  = 4
	impatience    = 6
	networkBits4  = 24
	networkBits6  = 64
	leastPatience = 200 * time.Millisecond
)

// Run returns the answers of all targets. When the context ends, those that are not done have none.
func (s Survey) Run(ctx context.Context, targets []Target) map[Target]Answer {
	var (
		lock    sync.Mutex
		answers = make(map[Target]Answer, len(targets))
		silence = silence{deaf: map[netip.Prefix]int{}, mute: map[netip.Prefix]int{}}
		queue   = make(chan Target)
		workers sync.WaitGroup
	)
	for range min(s.Dials, len(targets)) {
		workers.Go(func() {
			for t := range queue {
				lock.Lock()
				timeout := silence.patience(t, s.Timeout)
				lock.Unlock()
				answer := Probe(ctx, s.Dialer, t, timeout)
				if ctx.Err() != nil {
					continue // cut short: that is no answer
				}
				lock.Lock()
				answers[t] = answer
				silence.heard(t, answer)
				if s.Progress != nil {
					s.Progress(len(answers))
				}
				lock.Unlock()
			}
		})
	}
	known := make(map[Target]bool, len(targets))
	for _, i := range rand.Perm(len(targets)) { // neighbours apart, so that the silence of the first is known to the others
		t := targets[i]
		if known[t] {
			continue
		}
		known[t] = true
		select {
		case queue <- t:
		case <-ctx.Done():
		}
	}
	close(queue)
	workers.Wait()
	if s.Tracer != nil {
		s.trace(ctx, answers)
	}
	return answers
}

// trace puts Last into the answer of one target of each network that is silent.
func (s Survey) trace(ctx context.Context, answers map[Target]Answer) {
	traced := map[netip.Prefix]Target{}
	for t, a := range answers {
		network, ok := networkOf(t.Host)
		if _, known := traced[network]; ok && !known && a.Reach == NoAnswer && len(traced) < mostTraces {
			traced[network] = t
		}
	}
	var lock sync.Mutex
	var traces sync.WaitGroup
	for _, t := range traced {
		traces.Go(func() {
			last := s.Tracer.Trace(ctx, netip.MustParseAddr(t.Host), t.Port) // networkOf has parsed it
			lock.Lock()
			defer lock.Unlock()
			a := answers[t]
			a.Last = last
			answers[t] = a
		})
	}
	traces.Wait()
}

// silence counts, by network, those who do not answer; less than none: somebody does. Names are one network, without a prefix:
// of these it is who answers for them all that may be silent.
type silence struct {
	deaf map[netip.Prefix]int // no connection
	mute map[netip.Prefix]int // no word
}

func (s silence) patience(t Target, timeout time.Duration) time.Duration {
	network, _ := networkOf(t.Host)
	part := time.Duration(1)
	if s.deaf[network] >= silentEnough {
		part = impatience
	} else if s.mute[network] >= silentEnough {
		part = 2 * impatience
	}
	return min(timeout, max(timeout/part, leastPatience))
}

func (s silence) heard(t Target, a Answer) {
	network, address := networkOf(t.Host)
	switch {
	case a.Reach == Connected || a.Reach == Refused:
		s.deaf[network] = -1
	case s.deaf[network] >= 0 && (a.Reach == Unresolved || a.Reach == NoAnswer && address):
		s.deaf[network]++
	}
	switch {
	case a.Speech == Speaks:
		s.mute[network] = -1
	case s.mute[network] >= 0 && a.Speech == Silent && address:
		s.mute[network]++
	}
}

func networkOf(host string) (netip.Prefix, bool) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, false
	}
	bits := networkBits6
	if addr.Is4() {
		bits = networkBits4
	}
	network, err := addr.WithZone("").Prefix(bits)
	return network, err == nil
}
