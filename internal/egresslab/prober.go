package egresslab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// ProbeTimeout is how long a probe waits for its connection, and for the answer. A SYN is sent a second time, since the other
// end may still have a connection from the same port that a gateway has taken with it.
const ProbeTimeout = 1500 * time.Millisecond

// Prober opens a new connection again and again, and asks the other end for the source that it sees.
type Prober struct {
	end     chan struct{}
	once    sync.Once
	running sync.WaitGroup

	mu     sync.Mutex
	port   uint16   // of the last probe
	probes []*Probe // in the order of their sending
}

// Probe is one new connection.
type Probe struct {
	Sent   time.Time
	Source string // empty: no answer in time
	Err    error  // why there is none
}

// StartProber starts one in a namespace, over udp or tcp, to an address where nattest.TellSource answers. It asks once in
// every interval.
func StartProber(t testing.TB, ns nettest.NS, network, to string, interval time.Duration) *Prober {
	t.Helper()
	p := &Prober{end: make(chan struct{}), port: uint16(rand.UintN(1 << 16))}
	p.running.Go(func() { p.run(ns, network, net.JoinHostPort(to, nattest.Port), interval) })
	t.Cleanup(func() { p.Stop() })
	return p
}

// run never waits for an answer: each probe is given to a goroutine that waits for one, a new one if there is none.
func (p *Prober) run(ns nettest.NS, network, to string, interval time.Duration) {
	waiting := make(chan *Probe)
	defer close(waiting)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.end:
			return
		case now := <-ticker.C:
			probe := &Probe{Sent: now}
			p.mu.Lock()
			p.probes = append(p.probes, probe)
			p.mu.Unlock()
			select {
			case waiting <- probe:
			default:
				p.running.Go(func() {
					_, err := nattest.Inside(ns, func() (struct{}, error) {
						for ; probe != nil; probe = <-waiting {
							source, err := p.ask(network, to)
							p.answered(probe, source, err)
						}
						return struct{}{}, nil
					})
					if err != nil {
						p.answered(probe, "", err)
					}
				})
			}
		}
	}
}

func (p *Prober) answered(probe *Probe, source string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	probe.Source, probe.Err = source, err
}

// ask opens one connection and returns what the other end answers.
func (p *Prober) ask(network, to string) (string, error) {
	dialer := net.Dialer{Timeout: ProbeTimeout}
	if network == "udp" {
		dialer.LocalAddr = &net.UDPAddr{Port: int(p.nextPort())}
	}
	conn, err := dialer.Dial(network, to)
	for ; errors.Is(err, syscall.EADDRINUSE); conn, err = dialer.Dial(network, to) {
		dialer.LocalAddr = &net.UDPAddr{Port: int(p.nextPort())}
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(ProbeTimeout)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("?\n")); err != nil {
		return "", err
	}
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	if err != nil {
		return "", err
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(string(buffer[:n])))
	return addr.String(), err
}

// nextPort is one that was not used for long: with the port of a connection that the kernel has not forgotten, a packet is no
// new connection.
func (p *Prober) nextPort() uint16 {
	const lowest = 10000
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.port++; p.port < lowest {
		p.port = lowest
	}
	return p.port
}

// Stop ends the probing and returns the probes that were not taken.
func (p *Prober) Stop() []Probe {
	p.once.Do(func() { close(p.end) })
	p.running.Wait()
	return p.Take(time.Now())
}

// Take returns the probes that were sent until then, and forgets them. Each is over after twice ProbeTimeout.
func (p *Prober) Take(until time.Time) []Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := slices.IndexFunc(p.probes, func(probe *Probe) bool { return probe.Sent.After(until) })
	if n < 0 {
		n = len(p.probes)
	}
	var taken []Probe
	for _, probe := range p.probes[:n] {
		taken = append(taken, *probe)
	}
	p.probes = p.probes[n:]
	return taken
}

// Outage is how long after begin new connections did not work: until the first of those that work from then on. Interval is
// that of the prober.
func Outage(probes []Probe, begin time.Time, interval time.Duration) time.Duration {
	var last time.Time
	for _, p := range probes {
		if p.Source == "" && p.Sent.After(begin.Add(-interval)) {
			last = p.Sent
		}
	}
	if last.IsZero() {
		return 0
	}
	return last.Add(interval).Sub(begin)
}

// Losses tells when after begin new connections did not work, for people: each row of lost probes with its last error.
func Losses(probes []Probe, begin time.Time) string {
	var rows []string
	for i := 0; i < len(probes); {
		first := i
		for ; i < len(probes) && probes[i].Source == ""; i++ {
		}
		if i == first {
			i++
			continue
		}
		rows = append(rows, fmt.Sprintf("%d probes sent from %.2f s to %.2f s (%v)",
			i-first, probes[first].Sent.Sub(begin).Seconds(), probes[i-1].Sent.Sub(begin).Seconds(), probes[i-1].Err))
	}
	return strings.Join(rows, ", ")
}

// Sources counts the answers by source.
func Sources(probes []Probe) map[string]int {
	count := map[string]int{}
	for _, p := range probes {
		count[p.Source]++
	}
	return count
}
