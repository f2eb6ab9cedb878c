package gobgp

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestAPI uses the speaker's socket with GoBGP's own command.
func TestAPI(t *testing.T) {
	command := filepath.Join(t.TempDir(), "gobgp")
	if out, err := exec.Command("go", "build", "-o", command, "github.com/osrg/gobgp/v4/cmd/gobgp").CombinedOutput(); err != nil {
		t.Fatalf("build gobgp: %v\n%s", err, out)
	}
	config := direct()
	config.Password = "hunter2"
	r := startFRR(t, segment(t), config)
	socket := filepath.Join(t.TempDir(), "gobgp.sock")
	if err := os.WriteFile(socket, []byte("stale"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := speakerConfig()
	c.Peers[0].Password = bgp.NewPassword("hunter2")
	s := New(testLog(t), socket, false, func() {})
	apply(t, s, c)
	nettest.Eventually(t, patience, learnsAll(s, r))

	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 0600", info.Mode(), err)
	}
	for _, tt := range []struct {
		args string
		want string
		ok   bool
	}{
		{"neighbor", "192.0.2.2 64512", true},
		{"neighbor 192.0.2.2", "BGP neighbor is 192.0.2.2, remote AS 64512", true},
		{"global rib", "198.51.100.0/24", true},
		{"global rib -a ipv6", "2001:db8:f::/48", true},
		{"neighbor 192.0.2.2 adj-out", "10.1.0.0/24", true},
		{"neighbor 192.0.2.2 adj-in", "203.0.113.0/24", true},
		{"global", "Router-ID: 192.0.2.1", true},
		{"policy", "waymark-export", true},
		{"global rib add 10.99.0.0/24", "start waymark-agent with --gobgp-writable", false},
		{"neighbor 192.0.2.2 reset", "its API is read-only", false},
		{"neighbor del 192.0.2.2", "its API is read-only", false},
	} {
		out, err := exec.Command(command, append([]string{"--target", "unix://" + socket}, strings.Fields(tt.args)...)...).CombinedOutput()
		if (err == nil) != tt.ok || !strings.Contains(string(out), tt.want) {
			t.Errorf("gobgp %s: %v, want %q in:\n%s", tt.args, err, tt.want, out)
		}
		if strings.Contains(string(out), "hunter2") {
			t.Errorf("gobgp %s shows the password:\n%s", tt.args, out)
		}
	}
	out, err := exec.Command(command, "--target", "unix://"+socket, "-j", "neighbor").CombinedOutput()
	if err != nil || strings.Contains(string(out), "hunter2") {
		t.Errorf("gobgp -j neighbor: %v, or it shows the password:\n%s", err, out)
	}
	if err := s.Stop(t.Context(), true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestWritable lets the API change the speaker.
// TestSameAgainIsNoNews: who applies whenever something is new would never come to rest.
func TestSameAgainIsNoNews(t *testing.T) {
	told := make(chan struct{}, 100)
	s := New(testLog(t), "", false, func() { told <- struct{}{} })
	t.Cleanup(func() { _ = s.Stop(context.Background(), false) })
	c := speakerConfig()
	c.Peers = nil
	apply(t, s, c)
	<-told // of the announcement
	for range 10 {
		apply(t, s, c)
	}
	select {
	case <-told:
		t.Error("told of something new")
	case <-time.After(200 * time.Millisecond):
	}
}

func TestWritable(t *testing.T) {
	g := guard{writable: true}
	if err := g.check("/api.GoBgpService/AddPath"); err != nil {
		t.Error(err)
	}
}

// TestIdentity has the speaker start over with another ASN.
func TestIdentity(t *testing.T) {
	config := direct()
	config.NeighborAS = 64599
	r := startFRR(t, segment(t), config)
	c := speakerConfig()
	s := speak(t, c)
	c.ASN = 64599
	c.RouterID = netip.MustParseAddr("192.0.2.77")
	apply(t, s, c)
	nettest.Eventually(t, patience, learnsAll(s, r))
	nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))
}

// TestRestartWithoutGracefulRestart has a restarted speaker announce to a peer that has no graceful restart at once, although
// another one that might have it is not there, and not lose a withdrawal meanwhile.
func TestRestartWithoutGracefulRestart(t *testing.T) {
	r := startBIRD(t, segment(t), routerConfig{Address: "192.0.2.2", Neighbor: "192.0.2.1"})
	c := speakerConfig()
	c.GracefulRestart.Restarting = true
	absent := c.Peers[0]
	absent.Name, absent.Address = "absent", netip.MustParseAddr("192.0.2.99")
	c.Peers = append(c.Peers, absent)
	s := speak(t, c)
	nettest.Eventually(t, patience, func() error {
		if p := s.Peers()[1]; p.State != bgp.Established || p.GracefulRestart {
			return fmt.Errorf("the peer: %s", toJSON(p))
		}
		return nil
	})
	nettest.Eventually(t, deferral/2, hasRoute(r, "10.1.0.0/24"))
	c.Announce = c.Announce[1:]
	apply(t, s, c)
	nettest.Eventually(t, patience, wantNoRoute(r, "10.1.0.0/24"))
}
