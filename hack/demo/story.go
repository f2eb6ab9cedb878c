package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
)

// story is the demo as it is told: the steps, and what they have measured.
type story struct {
	lab      *lab
	measured [][2]string
}

// step is one chapter. An error says what was expected and what came instead.
type step struct {
	title, explanation string
	run                func(ctx context.Context) error
	cluster            bool // told on a control plane only
}

const picture = `Waymark demo: a virtual datacenter in network namespaces

                                      10.132.2.0/24
    outside ------- gateway ----------------+---- node1 ---- pod1
    10.132.9.10     10.132.2.254            |     .11        %[1]s
    registry :2181  route reflector         +---- node2 ---- pod2
                    AS 64512                |     .12        %[2]s
    branch -------- core -------------------+---- node3 ---- pod3
    10.132.8.10     10.132.2.253, no BGP    %[4]s     .13        %[3]s
`

const controlPicture = `                                            +---- control plane .250: etcd, kube-apiserver,
                                                  kube-controller-manager, waymark-controller
`

func (s *story) tell(ctx context.Context) error {
	programs := []string{"bin/waymark-agent", "bin/waymark-bfd", "bin/waymark", "bin/gobgp"}
	from := "reads the Node object and four waymark.io objects from files"
	if s.lab.cluster != nil {
		programs = append(programs, "bin/waymark-controller", "bin/kubectl-waymark",
			"bin/kube/kubectl", "bin/kube/kube-apiserver", "bin/kube/kube-controller-manager")
		from = "has the shipped account, reads its Node and four objects from the API server"
	}
	for _, program := range programs {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%w: run the demo by `make demo`, which builds it first", err)
		}
	}
	if s.lab.cluster == nil {
		fmt.Printf(picture, "10.244.1.10", "10.244.2.10", "10.244.3.10", " ")
	} else {
		fmt.Printf(picture+controlPicture, "10.244.x.10", "10.244.y.10", "10.244.z.10", "|")
	}
	steps := []step{
		{title: "The control plane", cluster: true, run: s.controlPlane, explanation: "" +
			"etcd, kube-apiserver and kube-controller-manager, which gives each node its PodCIDR. There are no kubelets:\n" +
			"   the demo makes Nodes and Pods, and starts the programs."},
		{title: "The datacenter", run: s.datacenter, explanation: "" +
			"A gateway that is also the route reflector, three nodes with a pod each, an outside host with a registry;\n" +
			"   and the core, a gateway without BGP, with a branch behind it."},
		{title: "Without Waymark", run: s.without, explanation: "" +
			"Nobody knows the way to a pod, and a masquerade rule hides each pod behind its node."},
		{title: "Waymark is installed", cluster: true, run: s.install, explanation: "" +
			"Definitions, accounts with least privilege, the controller; then what is this datacenter's own."},
		{title: "Waymark starts on three nodes", run: s.sessions, explanation: "" +
			"It " + from + ", and speaks BGP and BFD with the reflector."},
		{title: "The pod prefixes are in the fabric", run: s.prefixes, explanation: "" +
			"The reflector has them from each node, and so has every node from the reflector; the next hop stays the node."},
		{title: "What kubectl says", cluster: true, run: s.kubectl, explanation: "" +
			"Each agent reports about its node, and the controller puts that together."},
		{title: "Pods are reached by their real addresses", run: s.reach, explanation: "" +
			"From the outside host and from a pod on another node: no NodePort, no proxy, no tunnel."},
		{title: "The registry sees the pod's address", run: s.registrySeesPod, explanation: "" +
			"The masquerade rule is still there. Toward the datacenter the pod's own address wins; elsewhere the rule acts."},
		{title: "A gateway without BGP gets its routes", run: s.staticRoutes, explanation: "" +
			"The core is told by commands in its own language, here ip -batch. Then packets from the branch prove the way to each\n" +
			"   pod subnet: the TTL tells who is on it."},
		{title: "Somebody mistypes a route", run: s.slip, explanation: "" +
			"A digit too many in the route of node2. The diff reads what the core has, names the mistake, and mends it."},
		{title: "The agent is restarted under load", run: s.restart, explanation: "" +
			"1000 pings a second cross node1, and its pod registers again and again, while the agent is killed and stopped.\n" +
			"   The reflector, being a GoBGP, takes a lost session back after 5 s; until then its graceful restart keeps the routes."},
		{title: "The API server is gone, and an agent restarts", cluster: true, run: s.withoutAPIServer, explanation: "" +
			"The same load. The agent that starts meanwhile begins with what the API server said last, kept on the node."},
		{title: "A node is drained", cluster: true, run: s.drain, explanation: "" +
			"By a label. Its prefix is first marked with GRACEFUL_SHUTDOWN, which GoBGP prints as planned-shut, then, when no packet\n" +
			"   comes any more, withdrawn."},
		{title: "A mistake is refused", cluster: true, run: s.refused, explanation: "" +
			"The API server knows what an object may say."},
		{title: "A node dies", run: s.death, explanation: "" +
			"node3 loses its power. The reflector's own link stays up, so only BFD can tell."},
		{title: "The node comes back", run: s.comeback, explanation: "" +
			"It boots, and its agent announces its pods again."},
	}
	steps = slices.DeleteFunc(steps, func(step step) bool { return step.cluster && s.lab.cluster == nil })
	if err := s.lab.build(ctx); err != nil {
		return err
	}
	for i, step := range steps {
		fmt.Printf("\n%d. %s\n   %s\n\n", i+1, step.title, step.explanation)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, step.title, err)
		}
	}
	return nil
}

func (s *story) datacenter(ctx context.Context) error {
	if s.lab.cluster == nil {
		if err := writeManifests(); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := s.lab.buildNode(ctx, n); err != nil {
			return err
		}
	}
	errs := []error{s.lab.startReflector(), s.lab.start(outside, "registry", self(), "registry")}
	for _, n := range nodes {
		errs = append(errs, s.lab.startPod(n))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ready := [][]string{
		{"bin/gobgp", "--target", "unix://" + reflectorSocket, "neighbor"},
		askRegistry(outside, registry),
		within(outside, "ping", "-c1", "-W1", outsideGateway),
	}
	for _, n := range nodes {
		ready = append(ready, within(n.podNS(), "ping", "-c1", "-W1", gatewayAddress), curl(n.podNS(), n.pod))
	}
	for _, check := range ready {
		if err := eventually(ctx, 20*time.Second, func() error { return answers(ctx, check) }); err != nil {
			return err
		}
	}
	return s.show(ctx, "ip", "-n", nodes[0].ns(), "-brief", "address")
}

func answers(ctx context.Context, command []string) error {
	_, err := capture(ctx, command...)
	return err
}

func (s *story) without(ctx context.Context) error {
	pod := nodes[0].pod
	if out, err := s.try(ctx, curl(outside, pod)...); err == nil {
		return fmt.Errorf("the pod should not be reachable yet, but it said %q", out)
	}
	return s.expectSource(ctx, nodes[0], registry, nodes[0].address)
}

func (s *story) sessions(ctx context.Context) error {
	begin := time.Now()
	for _, n := range nodes {
		if err := errors.Join(s.lab.startBFD(n), s.lab.startAgent(n)); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := s.settled(ctx, n, begin, len(nodes)); err != nil {
			return err
		}
	}
	s.measure("sessions", "%d of %d up, routes installed, %.1f s after the agents started", len(nodes), len(nodes), time.Since(begin).Seconds())
	for _, n := range nodes {
		if err := eventually(ctx, 20*time.Second, func() error { return bfdUp(ctx, n) }); err != nil {
			return err
		}
	}
	if err := s.show(ctx, "bin/gobgp", "--target", "unix://"+reflectorSocket, "neighbor"); err != nil {
		return err
	}
	return s.show(ctx, "bin/waymark", "status", "--run-dir", nodes[0].runDir())
}

func (s *story) prefixes(ctx context.Context) error {
	return errors.Join(
		s.show(ctx, "bin/gobgp", "--target", "unix://"+reflectorSocket, "global", "rib"),
		s.show(ctx, "ip", "-n", nodes[0].ns(), "route", "show", "proto", "179"),
	)
}

func (s *story) reach(ctx context.Context) error {
	n := nodes[0]
	for _, from := range []struct{ ns, address string }{{outside, registry}, {nodes[1].podNS(), nodes[1].pod}} {
		out, err := s.try(ctx, curl(from.ns, n.pod)...)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("%s on %s at %s, you are %s", n.podName(), n.name, n.pod, from.address); out != want {
			return fmt.Errorf("want %q, got %q", want, out)
		}
	}
	s.measure("pod reached", "at %s itself, from the outside host and from another node's pod", n.pod)
	return nil
}

func (s *story) registrySeesPod(ctx context.Context) error {
	n := nodes[0]
	if err := s.show(ctx, within(n.ns(), "nft", "list", "table", "ip", "flannel-like")...); err != nil {
		return err
	}
	if err := s.expectSource(ctx, n, registry, n.pod); err != nil {
		return err
	}
	if err := s.expectSource(ctx, n, partner, n.address); err != nil {
		return err
	}
	s.measure("registry sees", "%s (without Waymark: %s)", n.pod, n.address)
	return nil
}

func (s *story) comeback(ctx context.Context) error {
	n := nodes[2]
	if err := s.lab.buildNode(ctx, n); err != nil {
		return err
	}
	begin := time.Now()
	if err := errors.Join(s.lab.startPod(n), s.lab.startBFD(n), s.lab.startAgent(n)); err != nil {
		return err
	}
	if err := eventually(ctx, 60*time.Second, func() error { return answers(ctx, curl(outside, n.pod)) }); err != nil {
		return err
	}
	took := time.Since(begin)
	if err := s.settled(ctx, n, begin, len(nodes)); err != nil {
		return err
	}
	if err := eventually(ctx, 20*time.Second, func() error { return bfdUp(ctx, n) }); err != nil {
		return err
	}
	s.measure("node back", "its pod answers the outside host %.1f s after the agent started", took.Seconds())
	return s.show(ctx, curl(outside, n.pod)...)
}

// curl asks a pod.
func curl(from, pod string) []string {
	return within(from, "curl", "-sS", "--max-time", "2", "http://"+pod+"/")
}

func askRegistry(from, at string) []string {
	return within(from, "sh", "-c", "echo cons | curl -sS --max-time 2 telnet://"+at+":"+registryPort)
}

// sourceIn is the client's address in a registry's answer.
func sourceIn(answer string) string {
	source, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(answer), "/"), ":")
	return source
}

// expectSource shows how a registry sees a node's pod.
func (s *story) expectSource(ctx context.Context, n node, at, want string) error {
	answer, err := s.try(ctx, askRegistry(n.podNS(), at)...)
	if err != nil {
		return err
	}
	if source := sourceIn(answer); source != want {
		return fmt.Errorf("%s should see %s as %s, but sees %s", at, n.podName(), want, source)
	}
	return nil
}

// settled waits until the agent that was started after begin has its session and routes, and is done with taking over.
func (s *story) settled(ctx context.Context, n node, begin time.Time, routes int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.lab.daemons[n.name+"-agent"].done:
			cancel(fmt.Errorf("waymark-agent of %s has ended by itself", n.name))
		case <-ctx.Done():
		}
	}()
	return eventually(ctx, 60*time.Second, func() error {
		status, err := telemetry.Client{RunDir: n.runDir()}.Status(ctx)
		switch {
		case err != nil:
			return err
		case status.Started.Before(begin):
			return errors.New("the earlier agent still answers")
		case !status.Ready:
			return fmt.Errorf("agent of %s: %s", n.name, status.NotReady)
		case !slices.ContainsFunc(status.Peers, func(p agent.PeerStatus) bool { return p.State == bgp.Established }):
			return fmt.Errorf("agent of %s: no session", n.name)
		case status.Routes.Settling || status.Routes.Installed != routes:
			return fmt.Errorf("agent of %s: %d of %d routes installed, settling: %t", n.name, status.Routes.Installed, routes, status.Routes.Settling)
		}
		return nil
	})
}

func bfdUp(ctx context.Context, n node) error {
	status, err := telemetry.Client{RunDir: n.runDir()}.Status(ctx)
	if err != nil {
		return err
	}
	for _, p := range status.Peers {
		if p.BFD == nil || p.BFD.State != bfd.Up {
			return fmt.Errorf("agent of %s: BFD with %s is not up", n.name, p.Name)
		}
	}
	return nil
}

// eventually waits until check returns nil, and returns its last error after the timeout.
func eventually(ctx context.Context, timeout time.Duration, check func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		switch {
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("not within %v: %w", timeout, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
