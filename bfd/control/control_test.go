package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bfd/udp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// start runs f until the returned function or the end of the test stops it.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// newServer serves a Speaker that holds sessions but does not run them: no packet is sent.
func newServer(t *testing.T, dir string, speaker *udp.Speaker) (stop func()) {
	t.Helper()
	stop = start(t, NewServer(dir, speaker, testLog(t)).Run)
	nettest.Eventually(t, 2*time.Second, func() error {
		_, err := os.Stat(filepath.Join(dir, SocketName))
		return err
	})
	return stop
}

func sessions(peers ...string) []bfd.SessionConfig {
	all := []bfd.SessionConfig{}
	for _, peer := range peers {
		all = append(all, bfd.SessionConfig{
			Key:    bfd.Key{Peer: netip.MustParseAddr(peer)},
			Timing: bfd.Timing{DesiredMinTx: time.Second, RequiredMinRx: time.Second, DetectMult: 3},
		})
	}
	return all
}

func peers(all []bfd.Status) string {
	var names []string
	for _, st := range all {
		names = append(names, st.Peer.String())
	}
	return strings.Join(names, " ")
}

func holds(t *testing.T, speaker *udp.Speaker, want string) {
	t.Helper()
	nettest.Eventually(t, 3*time.Second, func() error {
		if all := speaker.Status().Sessions; peers(all) != want {
			return fmt.Errorf("holds %q, want %q", peers(all), want)
		}
		return nil
	})
}

func follows(t *testing.T, c *Client, want string) Report {
	t.Helper()
	var report Report
	nettest.Eventually(t, 3*time.Second, func() error {
		r, connected := c.Report()
		if report = r; !connected || peers(r.Sessions) != want {
			return fmt.Errorf("connected: %v, report %+v, want %q", connected, r, want)
		}
		return nil
	})
	return report
}

func TestSetAndReport(t *testing.T) {
	dir, speaker := t.TempDir(), udp.New(testLog(t))
	newServer(t, dir, speaker)
	var notified atomic.Int32
	c := NewClient(dir, func() { notified.Add(1) }, testLog(t))
	start(t, c.Run)
	follows(t, c, "")
	c.Set(bfd.Config{Sessions: sessions("192.0.2.1", "192.0.2.2")})
	follows(t, c, "192.0.2.1 192.0.2.2")
	c.Set(bfd.Config{Sessions: sessions("192.0.2.2")})
	follows(t, c, "192.0.2.2")
	if notified.Load() < 3 {
		t.Errorf("notified %d times", notified.Load())
	}
	follower := NewClient(dir, func() {}, testLog(t)) // it sets nothing, and so changes nothing
	start(t, follower.Run)
	follows(t, follower, "192.0.2.2")
	c.Set(bfd.Config{})
	follows(t, follower, "")
}

func TestSessionsOutliveTheAgent(t *testing.T) {
	dir, speaker := t.TempDir(), udp.New(testLog(t))
	newServer(t, dir, speaker)
	c := NewClient(dir, func() {}, testLog(t))
	stop := start(t, c.Run)
	c.Set(bfd.Config{Sessions: sessions("192.0.2.1")})
	before := follows(t, c, "192.0.2.1")
	stop()

	holds(t, speaker, "192.0.2.1")
	next := NewClient(dir, func() {}, testLog(t))
	start(t, next.Run)
	next.Set(bfd.Config{Sessions: sessions("192.0.2.1")})
	after := follows(t, next, "192.0.2.1")
	if after.Instance != before.Instance || after.Sessions[0].Discriminator != before.Sessions[0].Discriminator {
		t.Errorf("another session after the agent's restart: %+v, before %+v", after, before)
	}
}

func TestClientComesBack(t *testing.T) {
	dir := t.TempDir()
	c := NewClient(dir, func() {}, testLog(t))
	start(t, c.Run) // before the server
	c.Set(bfd.Config{Sessions: sessions("192.0.2.1")})
	stop := newServer(t, dir, udp.New(testLog(t)))
	before := follows(t, c, "192.0.2.1")
	stop()
	nettest.Eventually(t, 3*time.Second, func() error {
		if report, connected := c.Report(); connected || peers(report.Sessions) != "192.0.2.1" {
			return fmt.Errorf("connected: %v, %+v", connected, report)
		}
		return nil
	})
	speaker := udp.New(testLog(t))
	newServer(t, dir, speaker)
	holds(t, speaker, "192.0.2.1")
	if after := follows(t, c, "192.0.2.1"); after.Instance == before.Instance || after.Instance == "" {
		t.Errorf("instance %q after %q", after.Instance, before.Instance)
	}
}

func TestBadRequests(t *testing.T) {
	dir, speaker := t.TempDir(), udp.New(testLog(t))
	newServer(t, dir, speaker)
	conn, err := net.Dial("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	answer := func() Report {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var r Report
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		return r
	}
	if r := answer(); r.Version != Version || r.Instance == "" || r.Error != "" {
		t.Errorf("greeting %+v", r)
	}
	good := `{"version":1,"sessions":[{"peer":"192.0.2.1","desiredMinTx":1000000000,"requiredMinRx":1000000000,"detectMult":3}]}`
	for _, c := range []struct{ request, want string }{
		{good, ""},
		{`hello`, "invalid character"},
		{`{"version":1,"sessions":[{"peer":"192.0.2.300"}]}`, "192.0.2.300"},
		{`{"version":1,"sessions":[{"peer":"192.0.2.2"}]}`, "detectMult"},
		{`{"version":2,"sessions":[]}`, "version 2"},
		{`{"version":1}`, "no sessions"},
		{`{"version":1,"sessions":[],"passive":["192.0.2.1/24"]}`, "192.0.2.1/24"},
		{good, ""},
	} {
		fmt.Fprintln(conn, c.request)
		for {
			r := answer()
			if got := peers(r.Sessions); got == "" && c.want == "" {
				continue // a report from before the request was carried out
			} else if got != "192.0.2.1" {
				t.Errorf("%s: sessions %q", c.request, got)
			}
			if c.want == r.Error || c.want != "" && strings.Contains(r.Error, c.want) {
				break
			}
		}
	}
}

func TestRequestOfAClientThatGoesAtOnce(t *testing.T) {
	dir, speaker := t.TempDir(), udp.New(testLog(t))
	newServer(t, dir, speaker)
	for i := range 100 {
		conn, err := net.Dial("unix", filepath.Join(dir, SocketName))
		if err != nil {
			t.Fatal(err)
		}
		peer := fmt.Sprintf("192.0.2.%d", i+1)
		if err := json.NewEncoder(conn).Encode(request{Version: Version, Config: bfd.Config{Sessions: sessions(peer)}}); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		holds(t, speaker, peer)
	}
}

func TestSocketIsTheOwners(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}) // as a killed waymark-bfd leaves it
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	stop := start(t, NewServer(dir, udp.New(testLog(t)), testLog(t)).Run)
	c := NewClient(dir, func() {}, testLog(t))
	start(t, c.Run)
	follows(t, c, "")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}

	second := NewServer(dir, udp.New(testLog(t)), testLog(t)).Run(context.Background())
	if second == nil || !strings.Contains(second.Error(), "another waymark-bfd") {
		t.Errorf("second server: %v", second)
	}
	follows(t, c, "") // and the first goes on
	stop()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("socket after the stop: %v", err)
	}
}

// A client that does not read must not hold up the others.
func TestHangingClient(t *testing.T) {
	dir, speaker := t.TempDir(), udp.New(testLog(t))
	newServer(t, dir, speaker)
	conn, err := net.Dial("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := NewClient(dir, func() {}, testLog(t))
	start(t, c.Run)
	var all []string
	for i := range 250 {
		all = append(all, fmt.Sprintf("192.0.2.%d", i+1))
	}
	for range 50 { // 50 times 100 kB: more than the socket's buffer
		c.Set(bfd.Config{Sessions: sessions(all...)})
		follows(t, c, strings.Join(all, " "))
		c.Set(bfd.Config{Sessions: sessions(all[:200]...)})
		follows(t, c, strings.Join(all[:200], " "))
	}
	if n, err := io.CopyN(io.Discard, conn, 1000); err != nil {
		t.Errorf("the hanging client read %d bytes: %v", n, err)
	}
}
