package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bfd/control"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

const asProgram = "WAYMARK_BFD_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
		return
	}
	nettest.Main(m)
}

// program starts waymark-bfd.
func program(t *testing.T, args ...string) *nettest.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return nettest.Self.Start(t, "env", append([]string{asProgram + "=1", self}, args...)...)
}

// router starts BIRD behind a link. It takes multiplier x 100 ms to notice a dead path.
func router(t *testing.T, multiplier int) *nettest.BIRD {
	t.Helper()
	ns := nettest.New(t, "router")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24"}, ns, "eth0", []string{"192.0.2.2/24"})
	return nettest.StartBIRD(t, ns, fmt.Sprintf(`
protocol device {}
protocol bfd { interface "eth0" { interval 100 ms; multiplier %d; }; neighbor 192.0.2.1 dev "eth0"; }
`, multiplier))
}

func awaitRouter(t *testing.T, r *nettest.BIRD, timeout time.Duration, want string) {
	t.Helper()
	nettest.Eventually(t, timeout, func() error {
		out, err := r.Birdc("show bfd sessions")
		if err == nil && !strings.Contains(out, " "+want+" ") {
			err = fmt.Errorf("session is not %s:\n%s", want, out)
		}
		return err
	})
}

// follow is the agent's side, which wants nothing yet.
func follow(t *testing.T, dir string) (c *control.Client, stop func()) {
	t.Helper()
	c = control.NewClient(dir, func() {}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return c, stop
}

// agent is the agent's side, wanting one session. The peer may take multiplier x 100 ms to notice our death.
func agent(t *testing.T, dir string, multiplier uint8) (c *control.Client, stop func()) {
	t.Helper()
	c, stop = follow(t, dir)
	const interval = 100 * time.Millisecond
	c.Set(bfd.Config{Sessions: []bfd.SessionConfig{{
		Key:    bfd.Key{Peer: netip.MustParseAddr("192.0.2.2")},
		Timing: bfd.Timing{DesiredMinTx: interval, RequiredMinRx: interval, DetectMult: multiplier},
	}}})
	return c, stop
}

func awaitUp(t *testing.T, c *control.Client) bfd.Status {
	t.Helper()
	var st bfd.Status
	nettest.Eventually(t, 10*time.Second, func() error {
		report, connected := c.Report()
		if !connected || len(report.Sessions) != 1 || report.Sessions[0].State != bfd.Up {
			return fmt.Errorf("connected: %v, %+v", connected, report)
		}
		st = report.Sessions[0]
		return nil
	})
	return st
}

func TestAgentRestart(t *testing.T) {
	r, dir := router(t, 3), t.TempDir()
	program(t, "--run-dir", dir)
	c, stop := agent(t, dir, 3)
	before := awaitUp(t, c)
	awaitRouter(t, r, time.Second, "Up")
	for range 3 {
		stop()
		time.Sleep(time.Second) // more than three times the detection time without an agent
		c, stop = agent(t, dir, 3)
		if after := awaitUp(t, c); !after.Since.Equal(before.Since) || after.Failures != 0 {
			t.Fatalf("flapped: %+v, before %+v", after, before)
		}
	}
	awaitRouter(t, r, 0, "Up")
}

func TestKillIsNoticed(t *testing.T) {
	r, dir := router(t, 3), t.TempDir()
	p := program(t, "--run-dir", dir)
	c, _ := agent(t, dir, 3)
	awaitUp(t, c)
	awaitRouter(t, r, 3*time.Second, "Up")
	nettest.Eventually(t, 3*time.Second, func() error { // BIRD has taken over the fast interval
		out, err := r.Birdc("show bfd sessions")
		if err == nil && !strings.Contains(out, "0.300") {
			err = fmt.Errorf("detection time is not 300 ms:\n%s", out)
		}
		return err
	})
	p.Kill()
	killed := time.Now()
	awaitRouter(t, r, 2*time.Second, "Down")
	took := time.Since(killed)
	t.Logf("the router has noticed kill -9 of waymark-bfd after %v", took)
	if took > 500*time.Millisecond {
		t.Errorf("noticed after %v, want 3 x 100 ms", took)
	}

	before, _ := c.Report()
	program(t, "--run-dir", dir) // finds a stale socket
	awaitRouter(t, r, 10*time.Second, "Up")
	awaitUp(t, c)
	if after, _ := c.Report(); after.Instance == before.Instance {
		t.Error("another process with the same instance")
	}
}

func TestPlannedStop(t *testing.T) {
	r, dir := router(t, 100), t.TempDir() // BIRD would need 10 s to time out
	p := program(t, "--run-dir", dir, "--log-format", "json")
	c, _ := agent(t, dir, 3)
	awaitUp(t, c)
	awaitRouter(t, r, time.Second, "Up")
	begin := time.Now()
	if err := p.Stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(begin); took > 2*time.Second { // a program with the race detector lingers for one
		t.Errorf("the stop took %v", took)
	}
	awaitRouter(t, r, time.Second, "Down")
}

// A process that did not get to run takes in what has arrived before it lets a session time out.
func TestOwnDelayIsNotThePeersDeath(t *testing.T) {
	r, dir := router(t, 3), t.TempDir()
	p := program(t, "--run-dir", dir)
	c, _ := agent(t, dir, 100)
	before := awaitUp(t, c)
	time.Sleep(time.Second) // all intervals are negotiated
	for range 5 {
		p.Signal(syscall.SIGSTOP)
		time.Sleep(700 * time.Millisecond)
		p.Signal(syscall.SIGCONT)
		time.Sleep(300 * time.Millisecond)
	}
	if after := awaitUp(t, c); !after.Since.Equal(before.Since) || after.Failures != 0 {
		t.Errorf("flapped: %+v, before %+v", after, before)
	}
	awaitRouter(t, r, 0, "Up")
}

func TestClearErrors(t *testing.T) {
	dir := t.TempDir()
	first := program(t, "--run-dir", dir)
	nettest.Eventually(t, 3*time.Second, func() error {
		_, err := os.Stat(dir + "/" + control.SocketName)
		return err
	})
	for want, args := range map[string][]string{
		"another waymark-bfd":   {"--run-dir", dir},
		"neither text nor json": {"--run-dir", dir, "--log-format", "xml"},
		"unexpected argument":   {"--run-dir", dir, "please"},
	} {
		p := program(t, args...)
		select {
		case <-p.Done():
		case <-time.After(3 * time.Second):
			t.Fatalf("%v goes on running", args)
		}
		if err := p.Stop(); err == nil || !strings.Contains(p.Output(), want) {
			t.Errorf("%v: %v: %s; want %q", args, err, p.Output(), want)
		}
	}
	select {
	case <-first.Done():
		t.Error("the first has ended")
	default:
	}
}
