package podnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// accept says at the node with which source a connection comes.
func accept(t *testing.T, address string) (string, func() string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), func() string {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		return host
	}
}

func find(t *testing.T, address string) *Namespace {
	t.Helper()
	n, err := Find(netip.MustParseAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestDialsAsThePod(t *testing.T) {
	for i, pod := range []nettest.NS{nettest.New(t, "pod1"), nettest.New(t, "pod2")} {
		octet := string(rune('2' + i))
		nettest.Join(t, nettest.Self, "veth"+octet, []string{"10.244." + octet + ".1/24", "2001:db8:" + octet + "::1/64"},
			pod, "eth0", []string{"10.244." + octet + ".2/24", "2001:db8:" + octet + "::2/64"})
	}
	// A namespace without a name, as of a container of Docker.
	nettest.NS("pod2").Start(t, "sleep", "100")
	nettest.Eventually(t, 5*time.Second, func() error {
		_, err := nettest.Self.Try("sh", "-c", "ip netns pids pod2 | grep -q .")
		return err
	})
	nettest.Run(t, "umount", "/run/netns/pod2")
	nettest.Run(t, "rm", "/run/netns/pod2")

	for _, c := range [][2]string{{"10.244.2.2", "10.244.2.1"}, {"2001:db8:2::2", "2001:db8:2::1"}, {"10.244.3.2", "10.244.3.1"}} {
		to, source := accept(t, c[1])
		conn, err := find(t, c[0]).DialContext(context.Background(), "tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := source(); got != c[0] {
			t.Errorf("the node sees %s, want %s", got, c[0])
		}
	}
	if own, err := net.InterfaceByName("veth2"); err != nil || own.Index == 0 {
		t.Errorf("the process itself has left its namespace: %v", err)
	}
}

func TestNotFound(t *testing.T) {
	pod := nettest.New(t, "a")
	nettest.New(t, "b")
	nettest.Join(t, nettest.Self, "veth", []string{"10.244.2.1/24"}, pod, "eth0", []string{"10.244.2.2/24"})
	for address, want := range map[string]string{
		"10.9.9.9":   "no network namespace on this host has the address 10.9.9.9",
		"127.0.0.1":  "2 network namespaces here have the address 127.0.0.1: /run/netns/a, /run/netns/b",
		"10.244.2.1": "10.244.2.1 is an address of this host itself",
	} {
		if n, err := Find(netip.MustParseAddr(address)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", address, n, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	pod := nettest.New(t, "pod")
	nettest.Join(t, nettest.Self, "veth", []string{"10.244.2.1/24"}, pod, "eth0", []string{"10.244.2.2/24"})
	n := find(t, "10.244.2.2")
	if _, err := n.DialContext(context.Background(), "tcp", "localhost:80"); err == nil || !strings.Contains(err.Error(), "want ADDRESS:PORT") {
		t.Errorf("a name: %v", err)
	}
	if _, err := n.DialContext(context.Background(), "tcp", "10.244.2.1:1"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	n.Close()
	if err := n.Do(func() error { return nil }); err == nil {
		t.Error("entered what is closed")
	}
}

// TestWithoutCapabilities: as in a container that has too few, nobody is told that the pod is elsewhere.
func TestWithoutCapabilities(t *testing.T) {
	pod := nettest.New(t, "pod")
	nettest.Join(t, nettest.Self, "veth", []string{"10.244.2.1/24"}, pod, "eth0", []string{"10.244.2.2/24"})
	pod.Start(t, "sleep", "100")
	nettest.Eventually(t, 5*time.Second, func() error {
		_, err := nettest.Self.Try("sh", "-c", "ip netns pids pod | grep -q .")
		return err
	})
	nettest.Run(t, "umount", "/run/netns/pod")
	nettest.Run(t, "rm", "/run/netns/pod")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends, and its loss with it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			done <- err
			return
		}
		_, err := Find(netip.MustParseAddr("10.244.2.2"))
		done <- err
	}()
	if err := <-done; err == nil || errors.Is(err, ErrNotHere) || !strings.Contains(err.Error(), "that needs CAP_SYS_PTRACE") {
		t.Errorf("got %v", err)
	}
}
