package registry

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func addresses(texts ...string) (m map[netip.Addr]string) {
	m = map[netip.Addr]string{}
	for _, text := range texts {
		address, name, _ := strings.Cut(text, " ")
		m[netip.MustParseAddr(address)] = name
	}
	return m
}

// shop is a cluster with a node of each kind.
func shop() Cluster {
	node := func(number int, change func(*Node)) Node {
		n := Node{
			Name: fmt.Sprintf("node-%d", number), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 132, 2, byte(number)})},
			PodCIDRs:  []netip.Prefix{prefix(fmt.Sprintf("10.244.%d.0/24", number)), prefix(fmt.Sprintf("fd00:%d::/64", number))},
			Announced: []netip.Prefix{prefix(fmt.Sprintf("10.244.%d.0/24", number)), prefix(fmt.Sprintf("fd00:%d::/64", number))},
			Sessions:  []Session{{Peer: "rr1", Up: true}, {Peer: "rr2", Why: "Active"}}, Learned: 10,
		}
		if change != nil {
			change(&n)
		}
		return n
	}
	return Cluster{
		Nodes: []Node{
			node(1, nil),
			node(2, func(n *Node) { n.Announced, n.Withheld = nil, "drained" }),
			node(3, func(n *Node) { n.Sessions = []Session{{Peer: "rr1", Why: "Active: connection refused"}} }),
			node(4, func(n *Node) { n.Learned = 0 }),
			node(5, func(n *Node) { n.Unknown, n.Announced, n.Sessions = "no report", nil, nil }),
			node(6, func(n *Node) { n.Sessions = nil }),
		},
		Pods: addresses("10.244.1.7 shop/a", "10.244.1.8 shop/b", "10.244.2.7 shop/c", "10.244.3.7 shop/d", "10.244.4.7 shop/e", "10.244.5.7 shop/f",
			"10.244.6.7 shop/g", "fd00:1::7 shop/a"),
		Services: addresses("10.96.0.10 shop/greeter"),
		Egress:   addresses("10.132.2.240 EgressPolicy bank"),
		PodCIDRs: []netip.Prefix{prefix("10.244.0.0/16"), prefix("10.96.0.0/16")}, Datacenter: []netip.Prefix{prefix("10.132.0.0/16"), prefix("172.20.0.0/16")},
		Bridges: []Bridge{{Prefix: prefix("10.9.0.0/16"), Name: "br-1a2b", Seen: true}},
	}
}

// at is a provider, whose probe ends so.
type at struct {
	Provider
	Answer
}

func provider(host string, answer Answer) at {
	return at{Provider{Registry: "zk", Interface: "com.x.Greeter", Application: "shop", Protocol: "dubbo", Host: host, Port: 20880}, answer}
}

// judged is, by host, the class and what was found.
func judged(c Cluster, list ...at) map[string]string {
	var providers []Provider
	answers := map[Target]Answer{}
	for _, p := range list {
		providers = append(providers, p.Provider)
		answers[p.Target()] = p.Answer
	}
	may := Targets(c, providers)
	for t := range answers {
		if !slices.Contains(may, t) {
			delete(answers, t)
		}
	}
	m := map[string]string{}
	for _, e := range Judge(c, providers, answers) {
		text := string(e.Class)
		for _, f := range e.Findings {
			text += ", " + string(f.Reason) + ": " + f.Message
		}
		m[e.Host] = text
	}
	return m
}

var (
	good   = Answer{Reach: Connected, Speech: Speaks}
	silent = Answer{Reach: NoAnswer, Detail: "no answer"}
	rst    = Answer{Reach: Refused, Detail: "connection refused"}
)

func TestJudge(t *testing.T) {
	router := netip.MustParseAddr("10.132.2.254")
	for _, tt := range []struct {
		name, host string
		answer     Answer
		want       string
	}{
		{"a pod that answers", "10.244.1.7", good, "Pod"},
		{"a pod of IPv6", "fd00:1::7", good, "Pod"},
		{"a pod where nobody listens", "10.244.1.7", rst, "Pod, NobodyListens: 10.244.1.7 is reached, and nobody listens on port 20880"},
		{"a pod that is gone", "10.244.1.99", silent, "Pod, Stale: no pod has 10.244.1.99, which is in 10.244.1.0/24 of node-1: the pod is gone, its entry is not"},
		{"a pod that came after the list of pods", "10.244.1.99", good, "Pod"},
		{"a node that is gone", "10.244.77.1", silent, "Pod, Stale: 10.244.77.1 is in the cluster's range, and no node, pod or Service has it: what had it is gone, its entry is not"},
		{"not announced", "10.244.2.7", silent, "Pod, NotAnnounced: node-2 does not announce 10.244.2.0/24: drained"},
		{"no session", "10.244.3.7", silent, "Pod, NotAtPeer: node-3 announces 10.244.3.0/24 to nobody, its sessions are down: rr1 (Active: connection refused)"},
		{"no peer", "10.244.6.7", silent, "Pod, NotAtPeer: node-6 announces 10.244.6.0/24 to nobody: it has no peers"},
		{"no route back", "10.244.4.7", silent, "Pod, NoRouteBack: node-4 announces 10.244.4.0/24, and has learned no route: it has none for its answers"},
		{"a node that does not report", "10.244.5.7", silent, "Pod, Unreachable: nothing comes back, and what node-5 announces is not known: no report"},
		{"a router without a route", "10.244.1.7", Answer{Reach: NoRoute, From: router}, "Pod, NoRoute: 10.132.2.254 has no route to 10.244.1.0/24 of node-1, or nobody has the address there"},
		{"a filter that says so", "10.244.1.7", Answer{Reach: Prohibited, From: router, Detail: "administratively prohibited, says 10.132.2.254"}, "Pod, Filtered: a filter forbids it: administratively prohibited, says 10.132.2.254"},
		{"silence", "10.244.1.7", silent, "Pod, Filtered: nothing comes back from 10.244.1.0/24 of node-1, which is announced: it is filtered, or the route stops before the node, or there is no way back"},
		{"something else", "10.244.1.7", Answer{Reach: Connected, Speech: Else, Detail: `speaks something else: it begins with "SSH"`}, `Pod, WrongProtocol: 10.244.1.7:20880 is to be dubbo, and speaks something else: it begins with "SSH"`},
		{"nothing is said", "10.244.1.7", Answer{Reach: Connected, Speech: Silent, Detail: "says nothing"}, `Pod, NotSpoken: 10.244.1.7:20880 is to be dubbo, and says nothing`},
		{"a node", "10.132.2.1", good, "Node"},
		{"a node where nobody listens", "10.132.2.1", rst, "Node, NobodyListens: nobody listens on 20880 at 10.132.2.1, which is the address of node node-1: a pod that registers it needs hostNetwork, a hostPort or a NodePort, or it has registered the address that its node gives to its packets"},
		{"an egress address", "10.132.2.240", silent, "Egress, SourceAddress: 10.132.2.240 is the egress address of EgressPolicy bank: packets leave with it, nobody listens there"},
		{"a service", "10.96.0.10", silent, "Service, Unreachable: 10.96.0.10 is a Service of Kubernetes: only hosts with kube-proxy reach a cluster IP: nothing comes back"},
		{"docker0", "172.17.0.2", silent, "ContainerBridge, UselessAddress: 172.17.0.2 is in 172.17.0.0/16, as docker0 uses it for containers on one host: other hosts do not reach it"},
		{"a datacenter that uses what Docker uses", "172.20.0.2", silent, "Datacenter, Unreachable: 172.20.0.2 is a host of the datacenter: nothing comes back"},
		{"a bridge that is here", "10.9.0.2", good, "ContainerBridge, UselessAddress: 10.9.0.2 is in 10.9.0.0/16, the network of br-1a2b on this host: other hosts do not reach it"},
		{"loopback", "127.0.0.1", good, "Loopback, UselessAddress: 127.0.0.1 is a loopback address: another host does not reach it"},
		{"localhost", "localhost", good, "Loopback, UselessAddress: localhost is a loopback address: another host does not reach it"},
		{"link-local", "fe80::1%eth0", good, "LinkLocal, UselessAddress: fe80::1%eth0 is a link-local address: another host does not reach it"},
		{"nobody", "0.0.0.0", good, "Unusable, UselessAddress: 0.0.0.0 is nobody's address: another host does not reach it"},
		{"public", "203.0.113.7", good, "Public"},
		{"private", "192.168.7.7", silent, "Private, Unreachable: 192.168.7.7 is a private address of nobody that is known here: nothing comes back"},
		{"a name", "shop.example.com", Answer{Reach: Unresolved, Detail: "no such host"}, "Name, Unreachable: the name shop.example.com cannot be resolved here: no such host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := judged(shop(), provider(tt.host, tt.answer))[tt.host]; got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestOthersTell: what is heard from the same node and prefix says more than silence.
func TestOthersTell(t *testing.T) {
	got := judged(shop(), provider("10.244.1.7", silent), provider("10.244.1.8", rst))["10.244.1.7"]
	if !strings.Contains(got, "Filtered: others in 10.244.1.0/24 of node-1 answer") {
		t.Error(got)
	}
	got = judged(shop(), provider("10.244.1.7", silent), provider("10.132.2.1", good))["10.244.1.7"]
	if !strings.Contains(got, "NoRouteBack: node-1 itself answers") {
		t.Error(got)
	}
	// A router says that it has no route of a few packets only. A node that says so does not find that pod.
	for from, want := range map[string]string{"10.132.2.254": "NoRoute: 10.132.2.254 has no route to 10.244.1.0/24 of node-1: it has said so", "10.132.2.1": "Filtered"} {
		no := Answer{Reach: NoRoute, From: netip.MustParseAddr(from)}
		got = judged(shop(), provider("10.244.1.7", silent), provider("10.244.1.8", no))["10.244.1.7"]
		if !strings.Contains(got, want) {
			t.Errorf("with %s: %s", from, got)
		}
	}
	traced := func(last string) Answer {
		a := silent
		a.Last = netip.MustParseAddr(last)
		return a
	}
	for last, want := range map[string]string{
		"10.132.2.254": "NoRoute: packets to 10.244.1.0/24 of node-1 come as far as 10.132.2.254, and not to the node",
		"10.132.2.1":   "NoRouteBack: packets to 10.244.1.0/24 come to node-1, and nothing comes back",
	} {
		// The trace of one tells of the other, too.
		if got := judged(shop(), provider("10.244.1.7", silent), provider("10.244.1.8", traced(last)))["10.244.1.7"]; !strings.Contains(got, want) {
			t.Error(got)
		}
	}
	if got := judged(shop(), provider("203.0.113.7", traced("10.132.2.254")))["203.0.113.7"]; !strings.Contains(got, "nothing comes back, packets come as far as 10.132.2.254") {
		t.Error(got)
	}
	// The node's report is older than what is seen.
	got = judged(shop(), provider("10.244.2.7", silent), provider("10.244.2.8", rst))["10.244.2.7"]
	if strings.Contains(got, "NotAnnounced") {
		t.Error(got)
	}
}

func TestWithoutACluster(t *testing.T) {
	for host, want := range map[string]string{
		"10.244.1.7": "Private, Unreachable: 10.244.1.7 is a private address of nobody that is known here: nothing comes back",
		"172.17.0.2": "ContainerBridge, UselessAddress: 172.17.0.2 is in 172.17.0.0/16, as docker0 uses it for containers on one host: other hosts do not reach it",
		"127.0.0.1":  "Loopback, UselessAddress: 127.0.0.1 is a loopback address: another host does not reach it",
	} {
		if got := judged(Cluster{}, provider(host, silent))[host]; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	unknown := shop()
	unknown.Pods = nil // an IPAM that gives pods no PodCIDR of a node leaves nothing to judge by
	if got := judged(unknown, provider("10.244.77.1", silent))["10.244.77.1"]; got != "Pod, Unreachable: 10.244.77.1 is a pod: nothing comes back" {
		t.Errorf("a pod where pods are not known: %s", got)
	}
	if got := judged(Cluster{}, provider("172.17.0.2", good))["172.17.0.2"]; got != "ContainerBridge" {
		t.Errorf("one that answers: %s", got)
	}
}

func TestDuplicates(t *testing.T) {
	p := func(application, service, owner string) at {
		x := provider("10.244.1.7", good)
		x.Application, x.Interface, x.Owner = application, service, owner
		return x
	}
	for _, tt := range []struct {
		name string
		list []at
		want string
	}{
		{"many services of one process", []at{p("shop", "a", "0x1"), p("shop", "b", "0x1")}, "Pod"},
		{"a service twice in one session", []at{p("shop", "a", "0x1"), p("shop", "a", "0x1")}, "Pod"},
		{"sessions of one process, each for other services", []at{p("shop", "a", "0x1"), p("shop", "", "0x2")}, "Pod"},
		{"an entry that stays beside one that goes", []at{p("shop", "a", "0x1"), p("shop", "a", "")}, "Pod"},
		{"two applications", []at{p("shop", "a", "0x1"), p("bank", "b", "0x2")}, "Pod, Duplicate: 10.244.1.7:20880 is registered by several applications: bank, shop"},
		{"two sessions", []at{p("shop", "a", "0x1"), p("shop", "a", "0x2")}, "Pod, Duplicate: two sessions, 0x1 and 0x2, have registered a at 10.244.1.7:20880: one process has gone without its entry, or two have one address"},
	} {
		if got := judged(shop(), tt.list...)["10.244.1.7"]; got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

type source []at

func (s source) Providers(_ context.Context, each func(Provider, error) error) error {
	for _, p := range s {
		if err := each(p.Provider, nil); err != nil {
			return err
		}
	}
	if err := each(Provider{Registry: "zk", Path: "/x"}, fmt.Errorf("broken")); err != nil {
		return err
	}
	return fmt.Errorf("breaks off")
}

func TestReadAndCount(t *testing.T) {
	s := source{provider("10.244.1.7", good), provider("10.244.1.8", good), provider("10.132.2.1", good)}
	e, err := Read(t.Context(), []Source{s, s}, nil)
	if err == nil || len(e.Providers) != 6 || len(e.Bad) != 2 || e.Bad[0] != (Bad{"zk", "/x", "broken"}) {
		t.Fatalf("%+v, %v", e, err)
	}
	targets := Targets(shop(), e.Providers)
	if len(targets) != 3 {
		t.Errorf("%v", targets)
	}
	counts := Counts(Judge(shop(), e.Providers, map[Target]Answer{targets[0]: good, targets[2]: good}))
	if want := []Count{{NodeAddress, 1, 2, 2}, {PodAddress, 2, 4, 2}}; !slices.Equal(counts, want) {
		t.Errorf("%+v", counts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := Read(ctx, []Source{s}, nil); err == nil || len(e.Providers) != 1 {
		t.Errorf("goes on after the end: %+v, %v", e, err)
	}
}
