package e2e

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// dubboService is one that a provider in a pod registers and serves at the address of the pod.
type dubboService struct {
	protocol string // dubbo, with hessian2, or tri
	level    string // what it registers: interface or service, which is Dubbo 3's word for the application
	pod      RegistryPod
}

func (s dubboService) flags() []string {
	return []string{"-registry", registryServer, "-protocol", s.protocol, "-level", s.level, "-interface", s.name()}
}

func (s dubboService) name() string { return "org.example." + s.protocol + "." + s.level }

// provide starts the provider and waits until it is registered with the address of the pod.
func (s dubboService) provide(t testing.TB, registry *zk.Conn) *nettest.Process {
	t.Helper()
	p := s.pod.NS.Start(t, program(t, "dubbo/provider"), append(s.flags(), "-application", s.name(), "-self", s.pod.Address)...)
	t.Cleanup(p.Kill) // when it is asked to end it waits for calls that may be on their way
	nettest.Eventually(t, 20*time.Second, func() error {
		path := "/services/" + s.name()
		if s.level == "interface" {
			path = "/dubbo/" + s.name() + "/providers"
		}
		nodes, _, err := registry.Children(path)
		if err != nil || len(nodes) != 1 {
			return fmt.Errorf("%s: %q: %v", path, nodes, err)
		}
		address := nodes[0]
		if s.level == "interface" {
			text, _ := url.QueryUnescape(nodes[0])
			u, err := url.Parse(text)
			if err != nil {
				return err
			}
			address = u.Host
		}
		if at, err := netip.ParseAddrPort(address); err != nil || at.Addr().String() != s.pod.Address {
			return fmt.Errorf("%s has %s, want %s: %v", path, address, s.pod.Address, err)
		}
		return nil
	})
	return p
}

// call calls the service and returns what it answers.
func (s dubboService) call(t testing.TB, from nettest.NS) (string, error) {
	return from.Try(program(t, "dubbo/consumer"), append(s.flags(), "-name", "consumer")...)
}

const (
	checkDubbo     = "dubbo --registry zookeeper://" + registryServer
	checkZooKeeper = "zookeeper " + registryServer
	fromPod        = checkZooKeeper + " --from-pod default/n1-2"
)

// TestRegistryDubbo: providers in pods register the address of their pod with a ZooKeeper outside the cluster, where a consumer
// looks them up that is outside, too. Without Waymark it does not reach them, ZooKeeper sees nodes, and the doctor says why. With
// Waymark it does, by either protocol and whatever they have registered, ZooKeeper sees pods, and the doctor finds nothing.
func TestRegistryDubbo(t *testing.T) {
	l := NewRegistryLab(t, 2, "")
	l.Register(t)
	services := []dubboService{
		{"dubbo", "interface", l.Nodes[0].Pods[0]}, {"dubbo", "service", l.Nodes[0].Pods[1]},
		{"tri", "interface", l.Nodes[1].Pods[0]}, {"tri", "service", l.Nodes[1].Pods[1]},
	}
	registry := session(t, l.Registry)
	var providers []*nettest.Process
	provide := func() {
		for _, s := range services {
			providers = append(providers, s.provide(t, registry))
		}
	}

	provide()
	if err := l.has(map[string]int{"198.18.1.1": 6, "198.18.1.2": 6}); err != nil { // three of each provider
		t.Error(err)
	}
	noRoute := make([]string, len(services))
	for i, s := range services {
		noRoute[i] = s.pod.Address + ":20880 .* NoRoute .* 203.0.113.1 has no route to "
	}
	l.doctor(t, l.Consumer, checkDubbo, true, noRoute...)
	l.doctor(t, l.Consumer, checkZooKeeper, true, "Masqueraded: 198.18.1.1 .* node n1", "Masqueraded: 198.18.1.2 .* node n2")
	l.doctor(t, l.Nodes[0].NS, fromPod, true, "Masqueraded: .* sees pod default/n1-2, .* as 198.18.1.1")
	var calls sync.WaitGroup // each tries for a while
	for _, s := range services {
		calls.Go(func() {
			if out, err := s.call(t, l.Consumer); err == nil || !strings.Contains(err.Error(), s.pod.Address+":") {
				t.Errorf("%s: want an error about %s where there is no way to it: %s%v", s.name(), s.pod.Address, out, err)
			}
		})
	}
	calls.Wait()

	l.StartAgents(t)
	for _, s := range services {
		nettest.Eventually(t, 20*time.Second, func() error {
			out, err := s.call(t, l.Consumer)
			if want := "hello consumer, this is " + s.pod.Address; err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("%s: the consumer is told %q, want %q", s.name(), out, want)
			}
			return err
		})
	}
	l.doctor(t, l.Consumer, checkDubbo, false, `Pod +5 +5 +5\n`) // the fifth is a service of dubbo-go about the services of a provider

	// A connection from before keeps its source until it ends, as all do when pods are rolled.
	for _, p := range providers {
		p.Kill()
	}
	nettest.Eventually(t, 20*time.Second, func() error { // ZooKeeper notices when their sessions end
		for _, s := range services {
			for _, path := range []string{"/services/" + s.name(), "/dubbo/" + s.name() + "/providers"} {
				if nodes, _, err := registry.Children(path); err == nil && len(nodes) > 0 {
					return fmt.Errorf("%s still has %q", path, nodes)
				}
			}
		}
		return nil
	})
	provide()
	if err := l.has(map[string]int{"10.244.1.2": 3, "10.244.1.3": 3, "10.244.2.2": 3, "10.244.2.3": 3}); err != nil {
		t.Error(err)
	}
	l.doctor(t, l.Consumer, checkZooKeeper, false)
	l.doctor(t, l.Nodes[0].NS, fromPod, false, "sees pod default/n1-2 with its own address 10.244.1.2")

	// Somebody switches off what all this rests upon.
	l.plane.must(t, "patch", "bgpconfiguration", "default", "--type=merge", "-p", `{"spec":{"advertise":{"podCIDRs":false}}}`)
	notAnnounced := make([]string, len(services))
	for i, s := range services {
		notAnnounced[i] = s.pod.Address + ":20880 .* NotAnnounced .* has advertise.podCIDRs: false"
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		for _, n := range l.Nodes {
			state, err := l.plane.state(n.Name)
			if err != nil || len(state.Status.Announced) > 0 {
				return fmt.Errorf("%s reports that it announces %v: %v", n.Name, state.Status.Announced, err)
			}
		}
		return nil
	})
	l.doctor(t, l.Consumer, checkDubbo, true, notAnnounced...)
}
