package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The names of everything that the demo makes. Nothing else on the machine is touched.
const (
	namespacePrefix = "waymark-demo-"
	runDir          = "/run/waymark-demo"
	marker          = "WAYMARK_DEMO_PROCESS=1" // in the environment of every process of the demo
)

// The datacenter's addresses.
const (
	gateway        = namespacePrefix + "gateway"
	outside        = namespacePrefix + "outside"
	nodeNetwork    = "10.132.2.0/24"
	gatewayAddress = "10.132.2.254"
	outsideNetwork = "10.132.9.0/24"
	outsideGateway = "10.132.9.254"
	registry       = "10.132.9.10"
	partner        = "203.0.113.10" // no policy is about it
	clusterCIDR    = "10.244.0.0/16"
	reflectorASN   = 64512
)

// node is a machine of the cluster with a pod on it. It has an AS of its own: GoBGP, which the reflector is, does not tell an
// AS what has already passed through it, and so could not reflect between nodes that share one. The pod's network is empty
// until the node has its PodCIDR.
type node struct {
	asn                                     uint32
	name, address, podCIDR, podGateway, pod string
}

func newNode(n int) node {
	return node{asn: uint32(64600 + n), name: fmt.Sprintf("node%d", n), address: fmt.Sprintf("10.132.2.%d", 10+n)}
}

// withPods is the node with a PodCIDR, of 256 addresses.
func (n node) withPods(podCIDR string) node {
	network := strings.TrimSuffix(podCIDR, "0/24")
	n.podCIDR, n.podGateway, n.pod = podCIDR, network+"1", network+"10"
	return n
}

var nodes = []node{newNode(1), newNode(2), newNode(3)}

func (n node) ns() string           { return namespacePrefix + n.name }
func (n node) podName() string      { return strings.Replace(n.name, "node", "pod", 1) }
func (n node) podNS() string        { return namespacePrefix + n.podName() }
func (n node) manifestsDir() string { return filepath.Join(runDir, n.name) }
func (n node) runDir() string       { return filepath.Join(runDir, n.name, "run") }

// lab is the datacenter while the demo runs.
type lab struct {
	daemons map[string]*daemon
	cluster *cluster // nil: Waymark's objects are files
}

// daemon is a running program. It goes on when the demo ends without having swept.
type daemon struct {
	process *os.Process
	done    chan struct{}
}

// build makes the datacenter without its nodes: a gateway between the nodes' network and an outside host, and the core.
func (l *lab) build(ctx context.Context) error {
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		return err
	}
	if err := script(ctx,
		"ip netns add "+gateway,
		"ip netns add "+outside,
		"ip -n "+gateway+" link set lo up",
		"ip -n "+outside+" link set lo up",
		"ip netns exec "+gateway+" sysctl -qw net.ipv4.ip_forward=1",
		"ip -n "+gateway+" link add fabric type bridge",
		"ip -n "+gateway+" link set fabric up",
		"ip -n "+gateway+" addr add "+gatewayAddress+"/24 dev fabric",
		"ip link add outside netns "+gateway+" type veth peer name eth0 netns "+outside,
		"ip -n "+gateway+" addr add "+outsideGateway+"/24 dev outside",
		"ip -n "+gateway+" link set outside up",
		"ip -n "+outside+" addr add "+registry+"/24 dev eth0",
		"ip -n "+outside+" addr add "+partner+"/32 dev lo",
		"ip -n "+outside+" link set eth0 up",
		"ip -n "+outside+" route add default via "+outsideGateway,
		"ip -n "+gateway+" route add "+partner+"/32 via "+registry,
	); err != nil {
		return err
	}
	return l.buildCore(ctx)
}

// buildNode makes a node as an administrator and a CNI plugin would leave it: a default route, a pod, and a rule that
// masquerades whatever leaves the cluster.
func (l *lab) buildNode(ctx context.Context, n node) error {
	if err := os.MkdirAll(n.runDir(), 0o755); err != nil {
		return err
	}
	return script(ctx,
		"ip netns add "+n.ns(),
		"ip netns add "+n.podNS(),
		"ip -n "+n.ns()+" link set lo up",
		"ip -n "+n.podNS()+" link set lo up",
		"ip netns exec "+n.ns()+" sysctl -qw net.ipv4.ip_forward=1",
		"ip link add "+n.name+" netns "+gateway+" type veth peer name eth0 netns "+n.ns(),
		"ip -n "+gateway+" link set "+n.name+" master fabric up",
		"ip -n "+n.ns()+" addr add "+n.address+"/24 dev eth0",
		"ip -n "+n.ns()+" link set eth0 up",
		"ip -n "+n.ns()+" route add default via "+gatewayAddress,
		"ip link add cni0 netns "+n.ns()+" type veth peer name eth0 netns "+n.podNS(),
		"ip -n "+n.ns()+" addr add "+n.podGateway+"/24 dev cni0",
		"ip -n "+n.ns()+" link set cni0 up",
		"ip -n "+n.podNS()+" addr add "+n.pod+"/24 dev eth0",
		"ip -n "+n.podNS()+" link set eth0 up",
		"ip -n "+n.podNS()+" route add default via "+n.podGateway,
		"ip netns exec "+n.ns()+" nft add table ip flannel-like",
		"ip netns exec "+n.ns()+" nft add chain ip flannel-like postrouting { type nat hook postrouting priority srcnat; }",
		"ip netns exec "+n.ns()+" nft add rule ip flannel-like postrouting ip saddr "+n.podCIDR+" ip daddr != "+clusterCIDR+" masquerade",
	)
}

// powerOff takes a node away as a power cut does: the first thing that the others notice is that nothing comes any more.
func (l *lab) powerOff(ctx context.Context, n node) error {
	if err := script(ctx, "ip -n "+gateway+" link del "+n.name); err != nil {
		return err
	}
	for _, name := range []string{n.name + "-agent", n.name + "-bfd", n.podName()} {
		l.kill(name, syscall.SIGKILL)
	}
	return errors.Join(
		script(ctx, "ip netns del "+n.ns(), "ip netns del "+n.podNS()),
		os.RemoveAll(n.runDir()), // a machine that boots has an empty /run
	)
}

// start starts a daemon in a namespace. Its output is appended to its log.
func (l *lab) start(namespace, name string, args ...string) error {
	return l.startWith(nil, namespace, name, args...)
}

// startWith is start with open files, of which the first is the daemon's file 3.
func (l *lab) startWith(files []*os.File, namespace, name string, args ...string) error {
	log, err := os.OpenFile(logPath(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace}, args...)...)
	cmd.Env = append(os.Environ(), marker)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the demo, which then ends its daemons itself
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	d := &daemon{process: cmd.Process, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(d.done)
	}()
	l.daemons[name] = d
	return nil
}

func (l *lab) startReflector() error {
	return l.start(gateway, "reflector", self(), "reflector", reflectorSocket)
}

func (l *lab) startPod(n node) error {
	return l.start(n.podNS(), n.podName(), self(), "pod", n.podName(), n.name)
}

func (l *lab) startBFD(n node) error {
	return l.start(n.ns(), n.name+"-bfd", "bin/waymark-bfd", "--run-dir", n.runDir())
}

func (l *lab) startAgent(n node) error {
	source := []string{"--source", "dir:" + n.manifestsDir()}
	if l.cluster != nil {
		source = []string{"--source", "kube", "--kubeconfig", l.cluster.kubeconfig(n.agentPod())}
	}
	return l.start(n.ns(), n.name+"-agent", append([]string{"bin/waymark-agent", "--node", n.name, "--run-dir", n.runDir()}, source...)...)
}

// kill ends a daemon and waits for its end.
func (l *lab) kill(name string, with syscall.Signal) {
	d := l.daemons[name]
	_ = d.process.Signal(with)
	<-d.done
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

const reflectorSocket = runDir + "/gobgp.sock"

const logDir = runDir + "/log"

func logPath(name string) string { return filepath.Join(logDir, name+".log") }

// script runs command lines one after the other. Words in braces are one argument.
func script(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		if _, err := capture(ctx, words(line)...); err != nil {
			return err
		}
	}
	return nil
}

func words(line string) []string {
	head, block, found := strings.Cut(line, "{")
	if !found {
		return strings.Fields(line)
	}
	return append(strings.Fields(head), "{"+block)
}

// commandLimit is far more than any command takes, even the pings on a busy machine.
const commandLimit = 5 * time.Minute

// capture runs a command and returns what it prints. An error has the command, how it ended, and what it said.
func capture(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), marker)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.TrimRight(out.String(), "\n")
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

// within executes a command in a namespace.
func within(ns string, args ...string) []string {
	return append([]string{"ip", "netns", "exec", ns}, args...)
}
