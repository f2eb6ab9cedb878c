package nattest

import (
	"embed"
	"net"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// The rule sets of others, with words in capitals for what differs from node to node and between the families.
//
//go:embed testdata
var rulesOfOthers embed.FS

// A Service of the lab, whose endpoint is the neighbour.
const (
	service4, service6 = "10.96.0.10", "fd96::10"
	nodePort           = "30700"
)

var (
	words4 = strings.NewReplacer("FAMILY", "ip", "VERSION", "ipv4", "ADDR", "ipv4_addr", "CLUSTER", "10.244.0.0/16", "SUBNET", "10.244.1.0/24", "MULTICAST", "224.0.0.0/4",
		"LOOPBACK", "127.0.0.0/8", "SERVICE", service4, "NODE", Node4, "ENDPOINT", Neighbour4, "TARGET", Neighbour4, "CHAIN", Neighbour4)
	words6 = strings.NewReplacer("FAMILY", "ip6", "VERSION", "ipv6", "ADDR", "ipv6_addr", "CLUSTER", "fd00::/16", "SUBNET", "fd00:1::/64", "MULTICAST", "ff00::/8",
		"LOOPBACK", "::1/128", "SERVICE", service6, "NODE", Node6, "ENDPOINT", Neighbour6, "TARGET", "["+Neighbour6+"]", "CHAIN", strings.ReplaceAll(Neighbour6, ":", "."))
)

// install loads a rule set for both families; how is nft or the iptables that the program uses.
func install(t testing.TB, file, how string) {
	t.Helper()
	text, err := rulesOfOthers.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for family, words := range map[string]*strings.Replacer{"ip": words4, "ip6": words6} {
		load := "nft -f -"
		if how != "nft" {
			load = strings.Replace(how, "ip", family, 1) + "-restore --noflush"
		}
		nettest.Run(t, "sh", "-c", load+" <<'END'\n"+words.Replace(string(text))+"END\n")
	}
}

// neighboursKeepTheirTraffic has the rules of other programs on the node, before and after the backend: pods keep their addresses
// toward what the policy says, all else is theirs.
func neighboursKeepTheirTraffic(t *testing.T, start func() Backend) {
	hows := []string{"iptables-nft", "iptables-legacy"}
	if name := start().Name(); name != "nftables" {
		hows = []string{name} // as Detect has it
	}
	for _, c := range []struct {
		file      string
		elsewhere string // the source toward what no policy is about
	}{
		{"kube-proxy.iptables", "pod"},
		{"kube-proxy.nft", "pod"},
		{"flannel.iptables", "node"},
		{"flannel.nft", "node"},
		{"docker.iptables", "node"},
		{"by-hand.iptables", "node"},
	} {
		variants := hows
		if path.Ext(c.file) == ".nft" {
			variants = []string{"nft"}
		}
		for _, how := range variants {
			for _, order := range []string{"before", "after"} {
				t.Run(c.file+" by "+how+" "+order, func(t *testing.T) {
					l := NewLab(t)
					b := start()
					if order == "before" {
						install(t, c.file, how)
					}
					// Pods among the destinations: what kube-proxy masquerades is its own affair even then.
					keep := Plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: append(Prefixes(Outside4+"/32", Outside6+"/128"), Plan().Pods...)})
					Apply(t, b, keep)
					if order == "after" {
						install(t, c.file, how)
						Apply(t, b, keep) // kube-proxy puts itself into the first place
					}
					kept, elsewhere := [2]string{Pod4, Pod6}, [2]string{Node4, Node6}
					if beaten(t, b) {
						kept = elsewhere
					}
					if c.elsewhere == "pod" {
						elsewhere = [2]string{Pod4, Pod6}
					}
					WantSource(t, l.Pod, Outside4, kept[0])
					WantSource(t, l.Pod, Outside6, kept[1])
					WantSource(t, l.Pod, Elsewhere4, elsewhere[0])
					WantSource(t, l.Pod, Elsewhere6, elsewhere[1])
					WantSource(t, l.Pod, Neighbour4, Pod4)
					WantSource(t, l.Pod, Neighbour6, Pod6)
					WantSourceFrom(t, nettest.Self, "192.0.2.77", Outside4, "192.0.2.77")
					WantSource(t, nettest.Self, Outside6, Node6)
					if strings.HasPrefix(c.file, "kube-proxy") {
						wantServices(t, l)
					}
				})
			}
		}
	}
}

// wantServices checks a Service from a pod, from the endpoint itself, and by the node port from outside. The last two have to be
// masqueraded: they get the address of the node that the endpoint answers to.
func wantServices(t *testing.T, l Lab) {
	t.Helper()
	for _, c := range []struct {
		from     nettest.NS
		to, want string
	}{
		{l.Pod, net.JoinHostPort(service4, Port), Pod4},
		{l.Pod, net.JoinHostPort(service6, Port), Pod6},
		{l.Neighbour, net.JoinHostPort(service4, Port), "10.244.1.129"},
		{l.Neighbour, net.JoinHostPort(service6, Port), "fd00:1::1:0:0:1"},
		{l.Outside, net.JoinHostPort(Node4, nodePort), "10.244.1.129"},
		{l.Outside, net.JoinHostPort(Node6, nodePort), "fd00:1::1:0:0:1"},
	} {
		conn, err := Inside(c.from, func() (net.Conn, error) { return net.DialTimeout("tcp", c.to, 3*time.Second) })
		if err != nil {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
			continue
		}
		if got, err := Ask(conn); err != nil || got != c.want {
			t.Errorf("%s to %s: source %q, want %s; %v", c.from, c.to, got, c.want, err)
		}
		conn.Close()
	}
}
