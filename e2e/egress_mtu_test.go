package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressMTU: pods exchange bulk data with the partner through the gateway over networks of different sizes: in segments
// as large as fit into the tunnel, without a stall, and UDP packets as large as the pod's MTU arrive.
//
// Where the path between nodes is narrower than their interfaces, this goes for what pods send. What comes back for them in
// larger packets than fit is lost: they leave the gateway by a plain route, and the router that cannot pass them tells the
// partner of a connection with the pod's address, which it does not know.
func TestEgressMTU(t *testing.T) {
	for _, c := range []struct {
		name                string
		underlay, pods, wan int
		narrow              bool // in the middle
	}{
		{"1400", 1400, 1500, 1500, false},
		{"9000", 9000, 9000, 9000, false},
		{"middle 1400", 1500, 1500, 1500, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newEgressLab(t)
			setMTU(t, l, c.underlay, c.pods, c.wan)
			if c.narrow {
				narrowMiddle(t, l)
			}
			const address4, address6 = "198.51.100.7", "2001:db8:51::7"
			startEgress(t, l, "n3", 2, l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [`+address4+`, "`+address6+`"]`))
			for _, n := range []*egresslab.Node{l.Node(t, "n1"), l.Node(t, "n3")} {
				fits := c.underlay - 70 // room for an outer header of either family
				if n.Name == "n3" {
					fits = c.underlay // no tunnel
				}
				fits = min(fits, c.pods, c.wan)
				for _, end := range []struct {
					pod, partner, source string
					headers              int
				}{{n.Pod4, egresslab.Partner4, address4, 40}, {n.Pod6, egresslab.Partner6, address6, 60}} {
					bulk(t, l, n, end.partner, end.source, fits-end.headers-12, !c.narrow) // 12: timestamps
					large(t, l, n, end.partner, c.pods-end.headers+12, !c.narrow)          // UDP has a header of 8, not of 20
				}
			}
		})
	}
}

// setMTU gives nodes, pods and the partner's network their MTUs.
func setMTU(t testing.TB, l *egresslab.Lab, underlay, pods, wan int) {
	t.Helper()
	set := func(ns nettest.NS, dev string, mtu int) { ns.IP(t, fmt.Sprintf("link set %s mtu %d", dev, mtu)) }
	for _, n := range l.Nodes {
		set(n.NS, "eth0", underlay)
		set(n.Switch, n.Name, underlay)
		set(n.NS, "cni0", pods)
		set(n.Pod, "eth0", pods)
	}
	for i, dev := range []string{"lan1", "lan2"} {
		set(l.Router, dev, underlay)
		set(l.Nodes[2*i].Switch, "router", underlay)
		set(l.Nodes[2*i].Switch, "br0", underlay)
	}
	set(l.Router, "wan", wan)
	set(l.Partner, "eth0", wan)
}

// narrowMiddle lets only 1,400 bytes pass between the two networks of nodes.
func narrowMiddle(t *testing.T, l *egresslab.Lab) {
	t.Helper()
	for lan := 1; lan <= 2; lan++ {
		l.Router.IP(t, fmt.Sprintf("route replace 198.18.%[1]d.0/24 dev lan%[1]d proto kernel scope link src 198.18.%[1]d.254 mtu 1400", lan))
		l.Router.IP(t, fmt.Sprintf("route add fd18:%[1]d::/64 dev lan%[1]d metric 1 mtu 1400", lan))
		for _, n := range l.Nodes[2*lan-2 : 2*lan] {
			l.Router.IP(t, fmt.Sprintf("route add %s.0/24 via %s metric 1 mtu 1400", strings.TrimSuffix(n.Pod4, ".2"), n.Address))
			l.Router.IP(t, fmt.Sprintf("route add %s::/64 via %s metric 1 mtu 1400", strings.TrimSuffix(n.Pod6, "::2"), n.Address6))
		}
	}
}

const bulkBytes = 4 << 20

// bulk sends data to the partner over one connection, and as much back, or one byte.
func bulk(t *testing.T, l *egresslab.Lab, n *egresslab.Node, partner, source string, segment int, both bool) {
	t.Helper()
	what, answer := n.Name+" to "+partner, bulkBytes
	if !both {
		answer = 1
	}
	listener, err := nattest.Inside(l.Partner, func() (net.Listener, error) { return net.Listen("tcp", net.JoinHostPort(partner, "7001")) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	deadline := time.Now().Add(10 * time.Second)
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(deadline)
		if from, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); from != source {
			t.Errorf("%s: source %s, want %s", what, from, source)
		}
		if n, err := io.CopyN(io.Discard, conn, bulkBytes); err != nil {
			served <- fmt.Errorf("after %d bytes from the pod: %w", n, err)
			return
		}
		_, err = conn.Write(make([]byte, answer))
		served <- errors.Join(err, wantSegment(conn, "partner's", segment))
	}()
	conn, err := nattest.Inside(n.Pod, func() (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", net.JoinHostPort(partner, "7001"))
	})
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline)
	_, err = conn.Write(make([]byte, bulkBytes))
	var back int64
	if err == nil {
		back, err = io.CopyN(io.Discard, conn, int64(answer))
	}
	if err := errors.Join(err, wantSegment(conn, "pod's", segment), <-served); err != nil {
		t.Errorf("%s: %d bytes came back: %v", what, back, err)
	}
}

// wantSegment checks the size of the segments that one end sends.
func wantSegment(conn net.Conn, whose string, want int) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var got int
	var problem error
	if err := raw.Control(func(fd uintptr) {
		got, problem = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG)
	}); err != nil || problem != nil {
		return errors.Join(err, problem)
	}
	if got != want {
		return fmt.Errorf("the %s segments have %d bytes, want %d", whose, got, want)
	}
	return nil
}

// large sends UDP packets of a size to the partner, who returns them, or one byte.
func large(t *testing.T, l *egresslab.Lab, n *egresslab.Node, partner string, size int, both bool) {
	t.Helper()
	server, err := nattest.Inside(l.Partner, func() (net.PacketConn, error) { return net.ListenPacket("udp", net.JoinHostPort(partner, "7001")) })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	answer := size
	if !both {
		answer = 1
	}
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			if n == size {
				_, _ = server.WriteTo(buffer[:answer], from)
			}
		}
	}()
	conn, err := nattest.Inside(n.Pod, func() (net.Conn, error) { return net.Dial("udp", net.JoinHostPort(partner, "7001")) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first ones may be lost while either side learns of the path's MTU.
	packet, buffer := bytes.Repeat([]byte{'x'}, size), make([]byte, 1<<16)
	for range 20 {
		_, _ = conn.Write(packet)
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := conn.Read(buffer); err == nil && n == answer {
			return
		}
	}
	t.Errorf("%s to %s: no answer to UDP packets of %d bytes", n.Name, partner, size)
}
