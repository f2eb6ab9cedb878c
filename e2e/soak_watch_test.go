package e2e

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// watcher is a prober of a node's pod that knows what is right.
type watcher struct {
	*egresslab.Prober
	node     *egresslab.Node
	name     string
	interval time.Duration
	source   string // that is right; empty: what the edited policy says
}

// answerTime is how long an answer may take on a busy machine: the event may have been before it.
const answerTime = 300 * time.Millisecond

// watch begins to.
func (s *soak) watch(t testing.TB) {
	t.Helper()
	for _, n := range s.Nodes {
		for _, w := range []struct {
			name, network, to, source string
			interval                  time.Duration
		}{
			{"bank", "udp", egresslab.Partner4, bankAddress4, 40 * time.Millisecond},
			{"bank IPv6", "udp", egresslab.Partner6, bankAddress6, 40 * time.Millisecond},
			{"bank TCP", "tcp", egresslab.Partner4, bankAddress4, 100 * time.Millisecond},
			{"lan", "udp", lanPartner, lanAddress, 40 * time.Millisecond},
			{"pods", "udp", podPartner, n.Pod4, 100 * time.Millisecond},
			{"moving", "udp", movingPartner, "", 100 * time.Millisecond},
		} {
			s.watchers = append(s.watchers, &watcher{egresslab.StartProber(t, n.Pod, w.network, w.to, w.interval), n, w.name, w.interval, w.source})
		}
		s.talkers = append(s.talkers, startTalker(n))
	}
	s.capture = s.Partner.Start(t, "tcpdump", "-ttlni", "eth0", "-Q", "in", "(tcp or udp) and ("+strings.Join([]string{
		"dst host " + egresslab.Partner4 + " and not src host " + bankAddress4,
		"dst host " + egresslab.Partner6 + " and not src host " + bankAddress6,
		"dst host " + lanPartner + " and not src host " + lanAddress,
		"dst host " + podPartner + " and not src net 10.244.0.0/16",
	}, " or ")+")")
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(s.capture.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", s.capture.Output())
		}
		return nil
	})
	s.captured = len(s.capture.Output())
}

// talk lets the pods begin connections: those from before a planned change go on, not those from before the last but one.
func (s *soak) talk() {
	for _, k := range s.talkers {
		k.renew <- struct{}{}
	}
	time.Sleep(200 * time.Millisecond)
}

func (s *soak) stopWatching() {
	for _, w := range s.watchers {
		w.Stop()
	}
	for _, k := range s.talkers {
		k.stop()
	}
}

// judge looks at all that has been seen during a step.
func (s *soak) judge(t testing.TB, events []event, at span) {
	t.Helper()
	missing, exposed, touched, asleep, moves, lost := false, false, false, false, false, time.Duration(0)
	absent := map[*egresslab.Node]bool{}
	for _, e := range events {
		missing, exposed, touched = missing || e.missing, exposed || e.exposed, touched || e.lost > 0
		lost, asleep, moves = max(lost, e.lost), asleep || e.asleep, moves || e.moves
		if e.absent {
			absent[e.node] = true
		}
	}
	touched = touched || asleep && moves // an address may be given to a gateway whose agent is away
	if len(events) > 1 && touched {
		lost = returnLimit // both gateways of an address may be gone at once
	}
	s.followed = s.edited.Add(editTime)
	if asleep && s.edited.After(at.began) {
		s.followed = at.mended.Add(editTime)
	}
	var wrong time.Time
	for _, w := range s.watchers {
		probes := w.Take(at.ended)
		for _, p := range probes {
			if p.Source == "" || slices.Contains(s.right(w, p.Sent, missing), p.Source) {
				continue
			}
			if !exposed {
				t.Errorf("%s of %s: source %s at %s, want %v", w.name, w.node.Name, p.Source, p.Sent.Format(time.StampMicro), s.right(w, p.Sent, missing))
			}
			wrong = later(wrong, p.Sent)
		}
		limit := lost
		if w.name == "moving" && s.edited.After(at.began) {
			limit = max(limit, s.followed.Sub(at.began)) // nobody waits for a gateway that does not know the address yet
		}
		s.judgeLost(t, w, probes, events, at, limit, absent[w.node])
	}
	if packet, when := s.strayed(); packet != "" {
		if !exposed || when.Before(at.began) {
			t.Errorf("a packet has reached the partner from another source: %s at %s", packet, when.Format(time.StampMicro))
		}
		wrong = later(wrong, when)
	}
	if !wrong.IsZero() && exposed {
		gap := wrong.Sub(at.began)
		s.note("packets had another source", events, gap)
		if gap > takenLimit {
			t.Errorf("packets had another source for %v", gap)
		}
	}
	for _, k := range s.talkers {
		if broken := k.taken(); broken != "" && !touched && !absent[k.node] {
			t.Errorf("an old connection of %s: %s", k.node.Name, broken)
		}
	}
}

// judgeLost looks at what was lost before and after the end of the event.
func (s *soak) judgeLost(t testing.TB, w *watcher, probes []egresslab.Probe, events []event, at span, limit time.Duration, absent bool) {
	t.Helper()
	first := slices.IndexFunc(probes, func(p egresslab.Probe) bool { return !p.Sent.Before(at.mended) })
	if first < 0 {
		first = len(probes)
	}
	for _, part := range []struct {
		what   string
		probes []egresslab.Probe
		begin  time.Time
	}{{"lost after its beginning", probes[:first], at.began}, {"lost after its end", probes[first:], at.mended}} {
		i := slices.IndexFunc(part.probes, func(p egresslab.Probe) bool { return p.Source == "" })
		if i < 0 {
			continue
		}
		sent := part.probes[i].Sent
		outage := egresslab.Outage(part.probes, part.begin, w.interval)
		what := part.what
		if absent {
			what += ", by the node's own pods"
		}
		s.note(what, events, outage)
		switch {
		case sent.Before(at.began.Add(-max(w.interval, answerTime))):
			t.Errorf("%s of %s: no answer at %s, before the event: %v", w.name, w.node.Name, sent.Format(time.StampMicro), part.probes[i].Err)
		case !absent && outage > limit:
			t.Errorf("%s of %s: %s until %v, from %s on; at most %v: %v",
				w.name, w.node.Name, part.what, outage, sent.Format(time.StampMicro), limit, part.probes[i].Err)
		}
	}
}

// right are the sources that a probe may have.
func (s *soak) right(w *watcher, sent time.Time, missing bool) []string {
	if w.source != "" {
		return []string{w.source}
	}
	right := s.moving.right(w.node, missing)
	if sent.Before(s.followed) {
		right = append(right, s.was.right(w.node, true)...)
		right = append(right, s.moving.right(w.node, true)...)
	}
	return right
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

var captured = regexp.MustCompile(`(?m)^(\d+)\.(\d{6}) .*$`)

// strayed is the last packet that reached the partner from a source that is never right.
func (s *soak) strayed() (packet string, when time.Time) {
	output := s.capture.Output()
	for _, match := range captured.FindAllStringSubmatch(output[s.captured:], -1) {
		seconds, _ := strconv.ParseInt(match[1], 10, 64)
		micros, _ := strconv.ParseInt(match[2], 10, 64)
		packet, when = match[0], time.Unix(seconds, micros*1000)
	}
	s.captured = len(output)
	return packet, when
}

// talker keeps one connection to the partner and asks on it all the time.
type talker struct {
	node   *egresslab.Node
	renew  chan struct{} // begins a connection
	ended  chan struct{}
	mu     sync.Mutex
	broken string
}

func startTalker(n *egresslab.Node) *talker {
	k := &talker{node: n, renew: make(chan struct{}), ended: make(chan struct{})}
	go k.run()
	return k
}

func (k *talker) run() {
	defer close(k.ended)
	var conn net.Conn
	hangUp := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer hangUp()
	for {
		select {
		case _, more := <-k.renew:
			hangUp()
			if !more {
				return
			}
			conn, _ = nattest.Dial(k.node.Pod, "tcp", "", egresslab.Partner4)
		case <-time.After(50 * time.Millisecond):
		}
		if conn == nil {
			continue
		}
		begin := time.Now()
		if source, err := nattest.Ask(conn); err != nil || source != bankAddress4 {
			k.mu.Lock()
			k.broken = fmt.Sprintf("asked at %s: source %q, %v", begin.Format(time.StampMicro), source, err)
			k.mu.Unlock()
			hangUp()
		}
	}
}

func (k *talker) stop() {
	close(k.renew)
	<-k.ended
}

// taken is how the connection has broken since the last call; empty: it has not.
func (k *talker) taken() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	broken := k.broken
	k.broken = ""
	return broken
}
