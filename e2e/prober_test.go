package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const (
	roleProber    = "prober"
	probeInterval = 10 * time.Millisecond
	probeTimeout  = time.Second
)

// Prober opens a new connection every ten milliseconds, and asks the other end for the source that it sees.
type Prober struct{ process *nettest.Process }

// StartProber starts one in a namespace, over udp or tcp, to an address where nattest.TellSource answers.
func StartProber(t testing.TB, ns nettest.NS, network, to string) *Prober {
	t.Helper()
	return &Prober{play(t, ns, roleProber, network, to)}
}

// Probe is one new connection.
type Probe struct {
	Sent   time.Time
	Source string // empty: no answer within a second
}

// Stop returns all probes, in the order of their sending.
func (p *Prober) Stop(t testing.TB) (probes []Probe) {
	t.Helper()
	if err := p.process.Stop(); err != nil {
		t.Fatalf("prober: %v: %s", err, p.process.Output())
	}
	if err := json.Unmarshal([]byte(p.process.Output()), &probes); err != nil {
		t.Fatalf("prober: %v", err)
	}
	return probes
}

// outage is how long after begin new connections did not work: until the first of those that work from then on.
func outage(probes []Probe, begin time.Time) time.Duration {
	var last time.Time
	for _, p := range probes {
		if p.Source == "" && p.Sent.After(begin.Add(-probeInterval)) {
			last = p.Sent
		}
	}
	if last.IsZero() {
		return 0
	}
	return last.Add(probeInterval).Sub(begin)
}

// sources counts the answers by source.
func sources(probes []Probe) map[string]int {
	count := map[string]int{}
	for _, p := range probes {
		count[p.Source]++
	}
	return count
}

// playProber is the prober: NETWORK ADDRESS as arguments.
func playProber() {
	network, to := os.Args[1], os.Args[2]
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	var mu sync.Mutex
	var probes []*Probe
	var running sync.WaitGroup
	ticker := time.NewTicker(probeInterval)
	for {
		select {
		case <-end:
			running.Wait()
			mu.Lock()
			_ = json.NewEncoder(os.Stdout).Encode(probes)
			os.Exit(0)
		case now := <-ticker.C:
			probe := &Probe{Sent: now}
			mu.Lock()
			probes = append(probes, probe)
			mu.Unlock()
			running.Go(func() {
				source := ask(network, to)
				mu.Lock()
				probe.Source = source
				mu.Unlock()
			})
		}
	}
}

// ask opens one connection and returns what the other end answers.
func ask(network, to string) string {
	conn, err := net.DialTimeout(network, net.JoinHostPort(to, fmt.Sprint(streamPort)), probeTimeout)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(probeTimeout))
	fmt.Fprintln(conn, "?")
	buffer := make([]byte, 64)
	n, err := conn.Read(buffer)
	if err != nil {
		return ""
	}
	addr, err := netip.ParseAddr(string(buffer[:max(0, n-1)]))
	if err != nil {
		return ""
	}
	return addr.String()
}
