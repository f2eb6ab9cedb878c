// Package nattest checks by the outcome of real packets what a NAT backend has done. Suite runs for every backend: what they
// promise is the same.
package nattest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// The addresses of the lab: the test process is the node, with two pods behind it and a host outside that tells which source address it sees.
// The outside host has two addresses of each family and routes to the pods; so has a machine that is no pod.
const (
	Node4, Node6           = "192.0.2.1", "2001:db8::1"
	Pod4, Pod6             = "10.244.1.2", "fd00:1::2"
	Neighbour4, Neighbour6 = "10.244.1.130", "fd00:1::1:0:0:2"
	Machine4, Machine6     = "172.16.0.2", "fd16::2"
	Outside4, Outside6     = "198.51.100.1", "2001:db8:51::1"
	Elsewhere4, Elsewhere6 = "203.0.113.1", "2001:db8:113::1"
	Port                   = "7000"
)

// Lab is the namespaces around the node.
type Lab struct {
	Pod, Neighbour, Machine, Outside nettest.NS
}

// NewLab builds the lab. When the test ends, all that iptables, nftables, ipset and conntrack hold on the node is removed.
func NewLab(t testing.TB) Lab {
	t.Helper()
	t.Cleanup(func() { Flush(t) })
	l := Lab{
		Pod: nettest.New(t, "pod"), Neighbour: nettest.New(t, "neighbour"),
		Machine: nettest.New(t, "machine"), Outside: nettest.New(t, "outside"),
	}
	behind := func(dev string, ns nettest.NS, gateway4, gateway6, addr4, addr6 string) {
		nettest.Join(t, nettest.Self, dev, []string{gateway4, gateway6}, ns, "eth0", []string{addr4, addr6})
		ns.IP(t, "route add default via "+bare(gateway4))
		ns.IP(t, "route add default via "+bare(gateway6))
	}
	behind("pod", l.Pod, "10.244.1.1/25", "fd00:1::1/80", Pod4+"/25", Pod6+"/80")
	behind("neighbour", l.Neighbour, "10.244.1.129/25", "fd00:1::1:0:0:1/80", Neighbour4+"/25", Neighbour6+"/80")
	behind("machine", l.Machine, "172.16.0.1/24", "fd16::1/64", Machine4+"/24", Machine6+"/64")
	nettest.Join(t, nettest.Self, "eth0", []string{Node4 + "/24", Node6 + "/64", "192.0.2.77/24"}, l.Outside, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	for _, addr := range []string{Outside4, Outside6, Elsewhere4, Elsewhere6} {
		via, flags := " via 192.0.2.2", ""
		if strings.Contains(addr, ":") {
			via, flags = " via 2001:db8::2", " nodad"
		}
		l.Outside.IP(t, "addr add "+addr+" dev lo"+flags)
		nettest.Self.IP(t, "route add "+addr+via)
	}
	l.Outside.IP(t, "route add default via "+Node4)
	l.Outside.IP(t, "route add default via "+Node6)
	for _, addr := range []string{Outside4, Outside6, Elsewhere4, Elsewhere6} {
		TellSource(t, l.Outside, addr)
	}
	for _, addr := range []string{Neighbour4, Neighbour6} {
		TellSource(t, l.Neighbour, addr)
	}
	// A new link drops packets until the kernel's link watch has seen its carrier, which takes seconds on a busy machine.
	for _, ns := range []nettest.NS{l.Pod, l.Machine, nettest.Self} {
		for _, addr := range []string{Outside4, Outside6} {
			nettest.Eventually(t, 30*time.Second, func() error {
				_, err := Seen(ns, "udp", "", addr)
				return err
			})
		}
	}
	return l
}

// Flush removes all that iptables, nftables, ipset and conntrack hold on the node.
func Flush(t testing.TB) {
	t.Helper()
	nettest.Run(t, "nft", "flush", "ruleset")
	for _, iptables := range []string{"iptables-legacy", "ip6tables-legacy"} {
		for _, table := range []string{"nat", "mangle", "filter"} {
			nettest.Run(t, iptables, "-t", table, "-F")
			nettest.Run(t, iptables, "-t", table, "-X")
		}
	}
	// The kernel lets go of the sets of deleted rules a moment later.
	nettest.Eventually(t, 5*time.Second, func() error {
		_, err := nettest.Self.Try("ipset", "destroy")
		return err
	})
	nettest.Run(t, "conntrack", "-F")
}

func bare(cidr string) string { return netip.MustParsePrefix(cidr).Addr().String() }

// Inside runs f on a thread of its own in the namespace: the sockets that it opens belong there.
func Inside[T any](ns nettest.NS, f func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if ns != nettest.Self {
			file, err := os.Open("/run/netns/" + string(ns))
			if err == nil {
				err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
				file.Close()
			}
			if err != nil {
				done <- outcome{err: err}
				return
			}
		}
		value, err := f()
		done <- outcome{value, err}
	}()
	o := <-done
	return o.value, o.err
}

// TellSource answers each line over TCP and each datagram at the address with the source address that it came from.
func TellSource(t testing.TB, ns nettest.NS, addr string) {
	t.Helper()
	tell(t, ns, addr, func(from netip.AddrPort) string { return from.Addr().String() })
}

// tell answers at the address what it can say of the source that it was asked from.
func tell(t testing.TB, ns nettest.NS, addr string, say func(netip.AddrPort) string) {
	t.Helper()
	listener, err := Inside(ns, func() (net.Listener, error) { return net.Listen("tcp", net.JoinHostPort(addr, Port)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintln(conn, say(source(conn.RemoteAddr())))
				}
			}()
		}
	}()
	packets, err := Inside(ns, func() (net.PacketConn, error) { return net.ListenPacket("udp", net.JoinHostPort(addr, Port)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	go func() {
		for buffer := make([]byte, 64); ; {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo([]byte(say(source(from))+"\n"), from)
		}
	}()
}

func source(addr net.Addr) netip.AddrPort {
	from := netip.MustParseAddrPort(addr.String())
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// Dial opens a connection from a namespace to the server at an address; from is the source address, empty for the usual one.
func Dial(ns nettest.NS, network, from, to string) (net.Conn, error) {
	return Inside(ns, func() (net.Conn, error) {
		dialer := net.Dialer{Timeout: 3 * time.Second}
		if from != "" {
			local := net.JoinHostPort(from, "0")
			if network == "udp" {
				dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
			} else {
				dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
			}
		}
		return dialer.Dial(network, net.JoinHostPort(to, Port))
	})
}

// Ask returns the source address that the server sees on the connection.
func Ask(conn net.Conn) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, "?"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Seen opens a connection and returns the source address that the server sees.
func Seen(ns nettest.NS, network, from, to string) (string, error) {
	conn, err := Dial(ns, network, from, to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return Ask(conn)
}

// WantSource checks with TCP and UDP which source address arrives.
func WantSource(t testing.TB, ns nettest.NS, to, want string) {
	t.Helper()
	WantSourceFrom(t, ns, "", to, want)
}

// WantSourceFrom is WantSource with a source address that the sender chooses.
func WantSourceFrom(t testing.TB, ns nettest.NS, from, to, want string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if got, err := Seen(ns, network, from, to); err != nil || got != want {
			t.Errorf("%s to %s over %s: source %q, want %s; %v", ns, to, network, got, want, err)
		}
	}
}

var echoRequest = regexp.MustCompile(`IP6? (\S+) > (\S+): ICMP6?,? echo request`)

// WantPingSource checks the source address of echo requests.
func (l Lab) WantPingSource(t testing.TB, to, want string) {
	t.Helper()
	capture := l.Outside.Start(t, "tcpdump", "-lni", "eth0", "icmp or icmp6")
	defer capture.Kill()
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(capture.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", capture.Output())
		}
		return nil
	})
	l.Pod.Run(t, "ping", "-c1", "-W3", to)
	nettest.Eventually(t, 5*time.Second, func() error {
		for _, match := range echoRequest.FindAllStringSubmatch(capture.Output(), -1) {
			if match[2] == to {
				if match[1] != want {
					t.Errorf("echo request to %s: source %s, want %s", to, match[1], want)
				}
				return nil
			}
		}
		return fmt.Errorf("no echo request to %s in %s", to, capture.Output())
	})
}

// Prefixes parses prefixes.
func Prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// Plan is a plan for the pods of the lab.
func Plan(policies ...nat.Policy) nat.Plan {
	return nat.Plan{Pods: Prefixes("10.244.1.0/24", "fd00:1::/64"), Policies: policies}
}
