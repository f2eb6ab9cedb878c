package nftables_test

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

func TestMain(m *testing.M) { nettest.Main(m) }

// The lab: the test process is the node, with two pods behind it and a host outside that tells which source address it sees.
// The outside host has two addresses of each family and routes to the pods; so has a machine that is no pod.
const (
	node4, node6           = "192.0.2.1", "2001:db8::1"
	pod4, pod6             = "10.244.1.2", "fd00:1::2"
	neighbour4, neighbour6 = "10.244.1.130", "fd00:1::1:0:0:2"
	machine4, machine6     = "172.16.0.2", "fd16::2"
	outside4, outside6     = "198.51.100.1", "2001:db8:51::1"
	elsewhere4, elsewhere6 = "203.0.113.1", "2001:db8:113::1"
	port                   = "7000"
)

type lab struct {
	pod, neighbour, machine, outside nettest.NS
}

func newLab(t testing.TB) lab {
	t.Helper()
	clean := func() {
		nettest.Run(t, "nft", "flush", "ruleset")
		for _, iptables := range []string{"iptables-legacy", "ip6tables-legacy"} {
			nettest.Run(t, iptables, "-t", "nat", "-F")
		}
		nettest.Run(t, "conntrack", "-F")
	}
	t.Cleanup(clean)
	l := lab{
		pod: nettest.New(t, "pod"), neighbour: nettest.New(t, "neighbour"),
		machine: nettest.New(t, "machine"), outside: nettest.New(t, "outside"),
	}
	behind := func(dev string, ns nettest.NS, gateway4, gateway6, addr4, addr6 string) {
		nettest.Join(t, nettest.Self, dev, []string{gateway4, gateway6}, ns, "eth0", []string{addr4, addr6})
		ns.IP(t, "route add default via "+bare(gateway4))
		ns.IP(t, "route add default via "+bare(gateway6))
	}
	behind("pod", l.pod, "10.244.1.1/25", "fd00:1::1/80", pod4+"/25", pod6+"/80")
	behind("neighbour", l.neighbour, "10.244.1.129/25", "fd00:1::1:0:0:1/80", neighbour4+"/25", neighbour6+"/80")
	behind("machine", l.machine, "172.16.0.1/24", "fd16::1/64", machine4+"/24", machine6+"/64")
	nettest.Join(t, nettest.Self, "eth0", []string{node4 + "/24", node6 + "/64", "192.0.2.77/24"}, l.outside, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	for _, addr := range []string{outside4, outside6, elsewhere4, elsewhere6} {
		via, flags := " via 192.0.2.2", ""
		if strings.Contains(addr, ":") {
			via, flags = " via 2001:db8::2", " nodad"
		}
		l.outside.IP(t, "addr add "+addr+" dev lo"+flags)
		nettest.Self.IP(t, "route add "+addr+via)
	}
	l.outside.IP(t, "route add default via "+node4)
	l.outside.IP(t, "route add default via "+node6)
	for _, addr := range []string{outside4, outside6, elsewhere4, elsewhere6} {
		tellSource(t, l.outside, addr)
	}
	for _, addr := range []string{neighbour4, neighbour6} {
		tellSource(t, l.neighbour, addr)
	}
	// A new link drops packets until the kernel's link watch has seen its carrier, which takes seconds on a busy machine.
	for _, ns := range []nettest.NS{l.pod, l.machine, nettest.Self} {
		for _, addr := range []string{outside4, outside6} {
			nettest.Eventually(t, 30*time.Second, func() error {
				_, err := seen(ns, "udp", "", addr)
				return err
			})
		}
	}
	return l
}

func bare(cidr string) string { return netip.MustParsePrefix(cidr).Addr().String() }

// inside runs f on a thread of its own in the namespace: the sockets that it opens belong there.
func inside[T any](ns nettest.NS, f func() (T, error)) (T, error) {
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

// tellSource answers each line over TCP and each datagram at the address with the source address that it came from.
func tellSource(t testing.TB, ns nettest.NS, addr string) {
	t.Helper()
	listener, err := inside(ns, func() (net.Listener, error) { return net.Listen("tcp", net.JoinHostPort(addr, port)) })
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
					fmt.Fprintln(conn, host(conn.RemoteAddr()))
				}
			}()
		}
	}()
	packets, err := inside(ns, func() (net.PacketConn, error) { return net.ListenPacket("udp", net.JoinHostPort(addr, port)) })
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
			_, _ = packets.WriteTo([]byte(host(from)+"\n"), from)
		}
	}()
}

func host(addr net.Addr) string {
	return netip.MustParseAddrPort(addr.String()).Addr().Unmap().String()
}

// dial opens a connection from a namespace to the server at an address; from is the source address, empty for the usual one.
func dial(ns nettest.NS, network, from, to string) (net.Conn, error) {
	return inside(ns, func() (net.Conn, error) {
		dialer := net.Dialer{Timeout: 3 * time.Second}
		if from != "" {
			local := net.JoinHostPort(from, "0")
			if network == "udp" {
				dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
			} else {
				dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
			}
		}
		return dialer.Dial(network, net.JoinHostPort(to, port))
	})
}

// ask returns the source address that the server sees on the connection.
func ask(conn net.Conn) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, "?"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// seen opens a connection and returns the source address that the server sees.
func seen(ns nettest.NS, network, from, to string) (string, error) {
	conn, err := dial(ns, network, from, to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return ask(conn)
}

// wantSource checks with TCP and UDP which source address arrives.
func wantSource(t testing.TB, ns nettest.NS, to, want string) {
	t.Helper()
	wantSourceFrom(t, ns, "", to, want)
}

func wantSourceFrom(t testing.TB, ns nettest.NS, from, to, want string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if got, err := seen(ns, network, from, to); err != nil || got != want {
			t.Errorf("%s to %s over %s: source %q, want %s; %v", ns, to, network, got, want, err)
		}
	}
}

var echoRequest = regexp.MustCompile(`IP6? (\S+) > (\S+): ICMP6?,? echo request`)

// wantPingSource checks the source address of echo requests.
func wantPingSource(t testing.TB, l lab, to, want string) {
	t.Helper()
	capture := l.outside.Start(t, "tcpdump", "-lni", "eth0", "icmp or icmp6")
	defer capture.Kill()
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(capture.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", capture.Output())
		}
		return nil
	})
	l.pod.Run(t, "ping", "-c1", "-W3", to)
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

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// plan is a plan for the pods of the lab.
func plan(policies ...nat.Policy) nat.Plan {
	return nat.Plan{Pods: prefixes("10.244.1.0/24", "fd00:1::/64"), Policies: policies}
}
