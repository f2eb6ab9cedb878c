package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/waymark-bgp/waymark/agent/telemetry"
)

// controlPlane starts it and registers the nodes.
func (s *story) controlPlane(ctx context.Context) error {
	begin := time.Now()
	if err := s.lab.startControlPlane(ctx); err != nil {
		return err
	}
	if err := s.lab.cluster.register(ctx); err != nil {
		return err
	}
	s.measure("control plane", "up, with PodCIDRs, after %.1f s", time.Since(begin).Seconds())
	return s.show(ctx, kubectl("get", "nodes", "-o",
		"custom-columns=NAME:.metadata.name,ADDRESS:.status.addresses[0].address,PODCIDR:.spec.podCIDR")...)
}

// install goes the way of docs/install.md, and then starts the controller as its Deployment would.
func (s *story) install(ctx context.Context) error {
	c := s.lab.cluster
	if err := writeFiles(c.file("objects"), objects); err != nil {
		return err
	}
	for _, command := range [][]string{
		kubectl("apply", "--server-side", "-k", "manifests/base"),
		kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/part-of=waymark"),
	} {
		s.announce(command...)
		out, err := capture(ctx, command...)
		if err != nil {
			return err
		}
		s.output(fmt.Sprintf("%d objects", strings.Count(out, "\n")+1))
	}
	if err := s.show(ctx, kubectl("apply", "--server-side", "-f", c.file("objects"))...); err != nil {
		return err
	}
	if err := c.accounts(ctx); err != nil {
		return err
	}
	// One replica: it needs no election.
	return s.lab.start(control, "waymark-controller", "bin/waymark-controller", "--leader-elect=false",
		"--kubeconfig", c.kubeconfig("waymark-controller"), "--namespace", waymarkSystem)
}

func (s *story) kubectl(ctx context.Context) error {
	for _, command := range [][]string{
		kubectl("wait", "bgppeer/reflector", fmt.Sprintf("--for=jsonpath={.status.established}=%d", len(nodes)), "--timeout=30s"),
		kubectl("get", "nrs,bgppeers,egp"),
		kubectl("waymark", "status"),
		kubectl("waymark", "routes"),
	} {
		if err := s.show(ctx, command...); err != nil {
			return err
		}
	}
	return nil
}

// withoutAPIServer stops the API server and kills an agent under load, then starts both.
func (s *story) withoutAPIServer(ctx context.Context) error {
	kept, err := s.underLoad(ctx, func(ctx context.Context, n node, _ <-chan struct{}) error {
		s.lab.stopAPI()
		if out, err := s.try(ctx, kubectl("get", "nodes")...); err == nil {
			return fmt.Errorf("the API server still answers: %s", out)
		}
		took, err := s.restartAgent(ctx, n, syscall.SIGKILL)
		if err != nil {
			return err
		}
		status, err := telemetry.Client{RunDir: n.runDir()}.Status(ctx)
		if err != nil {
			return err
		}
		if status.Restored.IsZero() {
			return errors.New("the agent does not say that the API server is gone")
		}
		s.note("  agent ended by SIGKILL and started: in charge again after %.1f s", took.Seconds())
		if err := s.show(ctx, "sh", "-c", "bin/waymark status --run-dir "+n.runDir()+" | head -2"); err != nil {
			return err
		}
		if err := s.lab.startAPI(ctx); err != nil {
			return err
		}
		begin := time.Now()
		for _, n := range nodes {
			if err := eventually(ctx, 60*time.Second, func() error { return current(ctx, n) }); err != nil {
				return err
			}
		}
		s.note("  the API server is back: all agents have read it after %.1f s", time.Since(begin).Seconds())
		return nil
	})
	if err == nil {
		s.measure("API server gone", "and the agent restarted: %s", kept)
	}
	return err
}

// current says that a node's agent has all it wants from the API server.
func current(ctx context.Context, n node) error {
	status, err := telemetry.Client{RunDir: n.runDir()}.Status(ctx)
	if err == nil && (!status.Restored.IsZero() || len(status.Problems) > 0) {
		err = fmt.Errorf("agent of %s: in force is that of %v, problems: %v", n.name, status.Restored, status.Problems)
	}
	return err
}

// gracefulShutdown is the community 65535:0 as GoBGP prints it.
const gracefulShutdown = "planned-shut"

// drain takes node2 out of the fabric by a label, and back.
func (s *story) drain(ctx context.Context) error {
	n := nodes[1]
	prefix := []string{"bin/gobgp", "--target", "unix://" + reflectorSocket, "global", "rib", n.podCIDR}
	begin := time.Now()
	if err := s.show(ctx, kubectl("label", "node", n.name, "waymark.io/drain=")...); err != nil {
		return err
	}
	if err := eventually(ctx, 30*time.Second, func() error {
		out, err := capture(ctx, prefix...)
		if err == nil && !strings.Contains(out, gracefulShutdown) {
			err = fmt.Errorf("%s is not marked with GRACEFUL_SHUTDOWN: %s", n.podCIDR, out)
		}
		return err
	}); err != nil {
		return err
	}
	if err := errors.Join(
		s.show(ctx, prefix...),
		s.show(ctx, kubectl("wait", "nrs", n.name, "--for=jsonpath={.status.drain.phase}=Drained", "--timeout=60s")...),
		eventually(ctx, 10*time.Second, func() error { return noRoute(ctx, gateway, n.podCIDR) }),
	); err != nil {
		return err
	}
	s.measure("node drained", "nothing leads to it any more, and its agent has said so, %.1f s after the label", time.Since(begin).Seconds())
	if err := errors.Join(
		s.show(ctx, kubectl("get", "nrs")...),
		s.show(ctx, kubectl("label", "node", n.name, "waymark.io/drain-")...),
		eventually(ctx, 20*time.Second, func() error { return answers(ctx, curl(outside, n.pod)) }),
	); err != nil {
		return err
	}
	return s.show(ctx, curl(outside, n.pod)...)
}

// refused shows what the API server says to a mistake.
func (s *story) refused(ctx context.Context) error {
	const mistake, want = `{"spec":{"timers":{"keepalive":"30s","hold":"10s"}}}`, "keepalive must be less than the hold time"
	out, err := s.try(ctx, kubectl("patch", "bgppeer", "reflector", "--type=merge", "-p", mistake)...)
	if err == nil || !strings.Contains(out, want) {
		return fmt.Errorf("it should be refused with %q, but got %q, %v", want, out, err)
	}
	return nil
}

// hints are for an operator who looks around.
func (c *cluster) hints() []hint {
	return []hint{
		{"sessions, prefixes, policies", "kubectl get nrs,bgppeers,egp"},
		{"the cluster in one screen", "kubectl waymark status"},
		{"why something is in force on a node, or not", "kubectl waymark explain node " + nodes[0].name},
		{"what an object may say", "kubectl explain bgppeer.spec"},
		{"what a change would do", "kubectl get bgppeer reflector -o yaml | sed s/300ms/100ms/ | kubectl waymark plan -f -"},
	}
}

// change has things to try.
func (c *cluster) change(ask string) string {
	n := nodes[0]
	return fmt.Sprintf(`
Now change something. Ask the registry whom it sees, hide the pods behind their nodes, and ask again:

   $ %[1]s
     %[2]s
   $ kubectl patch egp datacenter-sees-pods --type=merge -p '{"spec":{"source":"Node"}}'
   $ %[1]s
     %[3]s

Let a node leave, look how far it is, and let it come back:

   $ kubectl label node %[4]s waymark.io/drain=
   $ kubectl get nrs --watch
   $ kubectl label node %[4]s waymark.io/drain-
`, ask, "/"+n.pod+":...", "/"+n.address+":...", n.name)
}
