package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const (
	roleStream = "stream"
	streamPort = 7000
	streamRate = 1000 // packets per second and direction
)

// Stream sends numbered UDP packets between two namespaces, both ways, and counts what arrives.
type Stream struct {
	a, b         *nettest.Process
	aAddr, bAddr string
}

// StartStream starts both ends. Each sends to the other's address and notes the source that it sees.
func StartStream(t testing.TB, a nettest.NS, aAddr string, b nettest.NS, bAddr string) *Stream {
	t.Helper()
	return &Stream{
		a: play(t, a, roleStream, aAddr, bAddr),
		b: play(t, b, roleStream, bAddr, aAddr),

		aAddr: aAddr, bAddr: bAddr,
	}
}

// streamEnd is what one end reports when it is stopped.
type streamEnd struct {
	Sent     uint64
	Received uint64   // distinct numbers
	Sources  []string // addresses that packets came from
}

// Stop lets the last packets arrive and returns what the two ends have to say. A packet that was lost, or came from another
// address than its sender's, fails the test.
func (s *Stream) Stop(t testing.TB) (a, b streamEnd) {
	t.Helper()
	for _, p := range []*nettest.Process{s.a, s.b} {
		p.Signal(syscall.SIGUSR1) // stop sending
	}
	time.Sleep(500 * time.Millisecond) // what is under way arrives
	a, b = report(t, s.a), report(t, s.b)
	wantAll(t, s.aAddr+" to "+s.bAddr, a.Sent, b, s.aAddr)
	wantAll(t, s.bAddr+" to "+s.aAddr, b.Sent, a, s.bAddr)
	return a, b
}

func report(t testing.TB, p *nettest.Process) (end streamEnd) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Fatalf("stream: %v: %s", err, p.Output())
	}
	if err := json.Unmarshal([]byte(p.Output()), &end); err != nil {
		t.Fatalf("stream: %v: %s", err, p.Output())
	}
	return end
}

// playStream is one end: LOCAL PEER as arguments.
func playStream() {
	local, peer := os.Args[1], os.Args[2]
	end, err := stream(local, peer)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(end)
	os.Exit(0)
}

func stream(local, peer string) (streamEnd, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local), Port: streamPort})
	if err != nil {
		return streamEnd{}, err
	}
	_ = conn.SetReadBuffer(4 << 20)
	quiet, end := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(quiet, syscall.SIGUSR1)
	signal.Notify(end, syscall.SIGTERM)

	received, heard := make(chan streamEnd, 1), make(chan struct{})
	go func() { received <- receive(conn, heard) }()
	to := &net.UDPAddr{IP: net.ParseIP(peer), Port: streamPort}
	ticker := time.NewTicker(time.Second / streamRate)
	defer ticker.Stop()
	var sent uint64
	for sending := true; ; {
		select {
		case <-quiet:
			sending = false
		case <-end:
			conn.Close()
			r := <-received
			r.Sent = sent
			return r, nil
		case <-ticker.C:
			if !sending {
				continue
			}
			select {
			case <-heard:
				sent++ // a refused write is a lost packet: its number is used up
			default: // number 0 says that we listen, until the other end does too
			}
			_, _ = conn.WriteToUDP(fmt.Appendf(nil, "%d", sent), to)
		}
	}
}

// receive collects numbers until the connection is closed, and closes heard at the first packet.
func receive(conn *net.UDPConn, heard chan<- struct{}) streamEnd {
	seen, sources := map[string]bool{}, map[string]bool{}
	buffer := make([]byte, 64)
	for {
		n, from, err := conn.ReadFromUDP(buffer)
		if err != nil {
			if strings.Contains(err.Error(), "refused") {
				continue
			}
			break
		}
		if len(sources) == 0 {
			close(heard)
		}
		if string(buffer[:n]) != "0" {
			seen[string(buffer[:n])] = true
		}
		sources[from.IP.String()] = true
	}
	r := streamEnd{Received: uint64(len(seen))}
	for s := range sources {
		r.Sources = append(r.Sources, s)
	}
	return r
}

// wantAll fails the test when a packet was lost or came from another address than its sender's.
func wantAll(t testing.TB, what string, sent uint64, received streamEnd, source string) {
	t.Helper()
	if lost := int64(sent) - int64(received.Received); lost != 0 {
		t.Errorf("%s: %d of %d packets lost", what, lost, sent)
	}
	if len(received.Sources) != 1 || received.Sources[0] != source {
		t.Errorf("%s: packets came from %v, want %s alone", what, received.Sources, source)
	}
}
