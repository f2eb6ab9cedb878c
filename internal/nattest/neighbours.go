package nattest

import (
	"embed"
	"net"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// The rule sets of others: those of kube-proxy recorded in the lab, a file for each family; the rest with words in capitals for
// what differs between the families.
//
//go:embed testdata
var rulesOfOthers embed.FS

// Two of the Services that kube-proxy had when it was recorded, the second with externalTrafficPolicy Local. The endpoint of
// both is the neighbour.
const (
	service4, service6  = "10.96.0.10", "fd96::10"
	local4, local6      = "10.96.0.11", "fd96::11"
	nodePort, localPort = "30700", "30701"
)

var (
	words4 = strings.NewReplacer("FAMILY", "ip", "VERSION", "ipv4", "CLUSTER", "10.244.0.0/16", "SUBNET", "10.244.1.0/24",
		"MULTICAST", "224.0.0.0/4", "LOOPBACK", "127.0.0.0/8")
	words6 = strings.NewReplacer("FAMILY", "ip6", "VERSION", "ipv6", "CLUSTER", "fd00::/16", "SUBNET", "fd00:1::/64",
		"MULTICAST", "ff00::/8", "LOOPBACK", "::1/128")
	// jumps are what kube-proxy puts into the first place of the chains of iptables, which their listing does not tell.
	jumps = regexp.MustCompile(`(?m)^-A ([A-Z]+) (.* -j KUBE-)`)
)

// install loads a rule set for both families; how is nft or the iptables that the program uses.
func install(t testing.TB, file, how string) {
	t.Helper()
	for family, words := range map[string]*strings.Replacer{"ip": words4, "ip6": words6} {
		text, err := rulesOfOthers.ReadFile("testdata/" + words.Replace(file))
		if err != nil {
			t.Fatal(err)
		}
		rules := words.Replace(string(text))
		load := "nft -f -"
		if how != "nft" {
			load = strings.Replace(how, "ip", family, 1) + "-restore --noflush"
			rules = jumps.ReplaceAllString(rules, "-I $1 $2")
		}
		nettest.Run(t, "sh", "-c", load+" <<'END'\n"+rules+"END\n")
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
		{"kube-proxy.FAMILY.iptables", "pod"},
		{"kube-proxy.FAMILY.nft", "pod"},
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
				t.Run(strings.Replace(c.file, ".FAMILY", "", 1)+" by "+how+" "+order, func(t *testing.T) {
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
						wantHairpin(t, l)
					}
				})
			}
		}
	}
}

// wantServices checks Services from a pod, and by the node ports from outside, where only the one with externalTrafficPolicy
// Local tells the client: for the other the endpoint has to answer to the node.
func wantServices(t *testing.T, l Lab) {
	t.Helper()
	wantServiceSource(t, l.Pod, service4, Port, Pod4)
	wantServiceSource(t, l.Pod, service6, Port, Pod6)
	wantServiceSource(t, l.Pod, local4, Port, Pod4)
	wantServiceSource(t, l.Pod, local6, Port, Pod6)
	wantServiceSource(t, l.Pod, Node4, localPort, Pod4)
	wantServiceSource(t, l.Pod, Node6, localPort, Pod6)
	wantServiceSource(t, l.Outside, Node4, nodePort, "10.244.1.129")
	wantServiceSource(t, l.Outside, Node6, nodePort, "fd00:1::1:0:0:1")
	wantServiceSource(t, l.Outside, Node4, localPort, "192.0.2.2")
	wantServiceSource(t, l.Outside, Node6, localPort, "2001:db8::2")
}

// wantHairpin checks a Service from its own endpoint, which has to answer to the node.
func wantHairpin(t *testing.T, l Lab) {
	t.Helper()
	wantServiceSource(t, l.Neighbour, service4, Port, "10.244.1.129")
	wantServiceSource(t, l.Neighbour, service6, Port, "fd00:1::1:0:0:1")
}

func wantServiceSource(t *testing.T, from nettest.NS, to, port, want string) {
	t.Helper()
	to = net.JoinHostPort(to, port)
	conn, err := Inside(from, func() (net.Conn, error) { return net.DialTimeout("tcp", to, 3*time.Second) })
	if err != nil {
		t.Errorf("%s to %s: %v", from, to, err)
		return
	}
	defer conn.Close()
	if got, err := Ask(conn); err != nil || got != want {
		t.Errorf("%s to %s: source %q, want %s; %v", from, to, got, want, err)
	}
}
