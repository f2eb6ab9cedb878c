// Package nettest builds small networks of real daemons for tests: namespaces joined by veth pairs and bridges, FRR, BIRD,
// OpenBGPD. Tests that use it run as root.
//
// Main moves the whole test binary into namespaces of its own (network, mount, pid). The test process is the node under
// test; routers and hosts are namespaces that it makes with New. Everything ends with the process, however it ends: nothing
// is left on the host, and packages can be tested side by side.
package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const inside = "WAYMARK_NETTEST_INSIDE"

// Main is called from TestMain. It runs the tests in fresh namespaces and exits with their result.
func Main(m *testing.M) {
	Isolate()
	os.Exit(m.Run())
}

// Isolate returns in fresh namespaces: the first time it is called it runs the program again in them, and exits with the
// result of that.
func Isolate() {
	switch os.Getenv(inside) {
	case "prepared": // by the process that has started this one, as go test starts workers to fuzz
		return
	case "1":
		err := prepare()
		if err == nil {
			err = os.Setenv(inside, "prepared")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "nettest:", err)
			os.Exit(1)
		}
		return
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "nettest: network namespaces need root")
		os.Exit(1)
	}
	os.Exit(reexec())
}

func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "nettest: start in new namespaces:", err)
		return 1
	}
	// The first process of a pid namespace gets no default signal action: pass on what the caller sends.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	if err := cmd.Wait(); err != nil {
		if code := cmd.ProcessState.ExitCode(); code > 0 {
			return code
		}
		fmt.Fprintln(os.Stderr, "nettest:", err)
		return 1
	}
	return 0
}

// prepare makes the new namespaces usable: private mounts, an own /proc and list of named namespaces, loopback up.
func prepare() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	return setup("")
}

// setup brings loopback up and switches on forwarding in namespace ns ("": this one).
func setup(ns string) error {
	script := "ip link set lo up && sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1" +
		" net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
	out, err := in(ns, "sh", "-c", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("prepare namespace %q: %w: %s", ns, err, out)
	}
	return nil
}

func in(ns string, name string, args ...string) *exec.Cmd {
	if ns == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// NS is a network namespace; the empty NS is the one that the test process is in.
type NS string

// Self is the namespace of the test process.
const Self NS = ""

// New makes a namespace with loopback up and forwarding on, removed when the test ends.
func New(t testing.TB, name string) NS {
	t.Helper()
	Run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	if err := setup(name); err != nil {
		t.Fatal(err)
	}
	return NS(name)
}

// Command is a command that runs in the namespace. It is killed when the test process dies: that is the first of the pid
// namespace. (A parent death signal would come too early, when the thread ends that happened to start the command.)
func (ns NS) Command(name string, args ...string) *exec.Cmd {
	return in(string(ns), name, args...)
}

// Run runs a command in the namespace and returns its output; failure ends the test.
func (ns NS) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := ns.Try(name, args...)
	if err != nil {
		t.Fatalf("in namespace %q: %v", ns, err)
	}
	return out
}

// Try is Run for commands that may fail.
func (ns NS) Try(name string, args ...string) (string, error) {
	out, err := in(string(ns), name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// IP runs ip with the words of line in the namespace.
func (ns NS) IP(t testing.TB, line string) string {
	t.Helper()
	return ns.Run(t, "ip", strings.Fields(line)...)
}

// Run runs a command in the test's own namespace; failure ends the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	return Self.Run(t, name, args...)
}

// Join connects two namespaces by a veth pair. Each side is a device name followed by addresses in CIDR form.
func Join(t testing.TB, a NS, aDev string, aAddrs []string, b NS, bDev string, bAddrs []string) {
	t.Helper()
	Run(t, "ip", "link", "add", "wmt-a", "type", "veth", "peer", "name", "wmt-b")
	place(t, "wmt-a", a, aDev, aAddrs)
	place(t, "wmt-b", b, bDev, bAddrs)
	t.Cleanup(func() { _, _ = a.Try("ip", "link", "del", aDev) })
}

func place(t testing.TB, link string, ns NS, dev string, addrs []string) {
	t.Helper()
	if ns != Self {
		Run(t, "ip", "link", "set", link, "netns", string(ns))
	}
	ns.IP(t, fmt.Sprintf("link set %s name %s", link, dev))
	ns.IP(t, fmt.Sprintf("link set %s up", dev))
	for _, addr := range addrs {
		args := []string{"addr", "add", addr, "dev", dev}
		if strings.Contains(addr, ":") {
			args = append(args, "nodad")
		}
		ns.Run(t, "ip", args...)
	}
}

const outputShown = 16 << 10 // bytes; more would hide what the test itself has said

// kubernetesInfo is what a control plane has to say when all is well: pages.
var kubernetesInfo = regexp.MustCompile(`(?m)^I[0-9]{4} [0-9:.]{15} .*\n`)

// Start starts a daemon in the namespace and ends it with the test: SIGTERM, then SIGKILL after five seconds. Its output
// goes to the test's log, the end of it, when the test fails.
func (ns NS) Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: ns.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s in namespace %q: %v", name, ns, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			output := kubernetesInfo.ReplaceAllString(p.Output(), "")
			t.Logf("end of the output of %s %s in namespace %q:\n%s", name, strings.Join(args, " "), ns, output[max(0, len(output)-outputShown):])
		}
	})
	return p
}

// Eventually waits until check returns nil, and ends the test with its last error after the timeout.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", timeout, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
