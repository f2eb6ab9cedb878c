package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The core gateway speaks no BGP: it knows the pods by static routes. Behind it is a host that knows only the core.
const (
	core          = namespacePrefix + "core"
	coreAddress   = "10.132.2.253"
	branch        = namespacePrefix + "branch"
	branchNetwork = "10.132.8.0/24"
	branchGateway = "10.132.8.254"
	branchHost    = "10.132.8.10"
)

// buildCore makes the core without a default route, so that nothing but its static routes leads to a pod.
func (l *lab) buildCore(ctx context.Context) error {
	return script(ctx,
		"ip netns add "+core,
		"ip netns add "+branch,
		"ip -n "+core+" link set lo up",
		"ip -n "+branch+" link set lo up",
		"ip netns exec "+core+" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0", // it answers each probe at once
		"ip link add core netns "+gateway+" type veth peer name eth0 netns "+core,
		"ip -n "+gateway+" link set core master fabric up",
		"ip -n "+core+" addr add "+coreAddress+"/24 dev eth0",
		"ip -n "+core+" link set eth0 up",
		"ip link add branch netns "+core+" type veth peer name eth0 netns "+branch,
		"ip -n "+core+" addr add "+branchGateway+"/24 dev branch",
		"ip -n "+core+" link set branch up",
		"ip -n "+branch+" addr add "+branchHost+"/24 dev eth0",
		"ip -n "+branch+" link set eth0 up",
		"ip -n "+branch+" route add default via "+branchGateway,
		"ip -n "+gateway+" route add "+branchNetwork+" via "+coreAddress,
	)
}

// staticRoutes is the way of a gateway without BGP: its routes are exported, entered and proven.
func (s *story) staticRoutes(ctx context.Context) error {
	n := nodes[1]
	if out, err := s.try(ctx, within(branch, "ping", "-c1", "-W1", n.pod)...); err == nil {
		return fmt.Errorf("the branch should not reach a pod yet, but: %s", out)
	}
	from, err := s.objectsFile(ctx)
	if err != nil {
		return err
	}
	export := "bin/waymark routes export --from " + from + " --gateway core"
	if err := errors.Join(s.shell(ctx, export), s.shell(ctx, export+" | "+intoCore)); err != nil {
		return err
	}
	if err := s.show(ctx, append(prove(from), "--all")...); err != nil {
		return err
	}
	s.measure("gateway without BGP", "%d routes exported, entered, and proven by packets from the branch", len(nodes))
	return s.show(ctx, curl(branch, n.pod)...)
}

// slip enters a wrong route by hand, as people do, and lets Waymark find and mend it.
func (s *story) slip(ctx context.Context) error {
	n := nodes[1]
	from, err := s.objectsFile(ctx)
	if err != nil {
		return err
	}
	mistyped := strings.Replace(n.podCIDR, "10.244.", "10.244.1", 1)
	if err := errors.Join(
		s.show(ctx, "ip", "-n", core, "route", "del", n.podCIDR),
		s.show(ctx, "ip", "-n", core, "route", "add", mistyped, "via", n.address),
	); err != nil {
		return err
	}
	if out, err := s.try(ctx, prove(from)...); !found(err) || !strings.Contains(out, n.podCIDR) {
		return fmt.Errorf("the packets should not find the way to %s: %w", n.podCIDR, err)
	}
	diff := "ip -n " + core + " route show | bin/waymark routes diff --from " + from + " --gateway core --running -"
	out, err := s.tryShell(ctx, diff)
	if !found(err) || !strings.Contains(out, "1 near miss") || !strings.Contains(out, mistyped) {
		return fmt.Errorf("the diff should find the near miss %s: %w", mistyped, err)
	}
	for _, line := range []string{diff + " --fix | " + intoCore, diff} {
		if err := s.shell(ctx, line); err != nil {
			return err
		}
	}
	s.measure("wrong static route", "%s in place of %s: found, explained, mended, proven", mistyped, n.podCIDR)
	return s.show(ctx, prove(from)...)
}

// intoCore enters commands.
const intoCore = "ip -n " + core + " -batch -"

// prove sends packets from the branch to each pod subnet.
func prove(from string) []string {
	return within(branch, "bin/waymark", "routes", "verify", "--from", from, "--gateway", "core", "--probe")
}

// tryShell is try for a command line with pipes.
func (s *story) tryShell(ctx context.Context, line string) (string, error) {
	s.note("$ %s", line)
	out, err := capture(ctx, "sh", "-c", line)
	s.output(out)
	return out, err
}

// shell is show for a command line with pipes.
func (s *story) shell(ctx context.Context, line string) error {
	_, err := s.tryShell(ctx, line)
	return err
}

// objectsFile is what the network's admins are given of the cluster: its Nodes and the DatacenterNetwork.
func (s *story) objectsFile(ctx context.Context) (string, error) {
	if s.lab.cluster == nil {
		return nodes[0].manifestsDir(), nil
	}
	file := filepath.Join(runDir, "core.yaml")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	return file, s.shell(ctx, "kubectl get nodes,datacenternetworks -o yaml > "+file)
}

// found tells that a command has done what was asked, and has found something.
func found(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 2
}
