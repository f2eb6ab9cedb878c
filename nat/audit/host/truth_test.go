package host_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/host"
	"github.com/waymark-bgp/waymark/nat/iptables"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// ruleset is one that is found on hosts. Its script runs in a shell for each family, with $iptables, $v (4 or 6), $ip (ip or
// ip6), $pods, $node and $outside; what is for iptables runs with both of its kinds.
type ruleset struct {
	name, script string
	uncertain    bool // the evaluation may say that it does not know
}

var rulesets = []ruleset{
	{name: "none", script: "true"},
	{name: "masquerade", script: `$iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE`},
	{name: "source excluded", script: `$iptables -t nat -A POSTROUTING ! -s $pods -o eth+ -j MASQUERADE`},
	{name: "destination excluded", script: `$iptables -t nat -A POSTROUTING -s $pods ! -d $outside -j MASQUERADE`},
	{name: "udp only", script: `$iptables -t nat -A POSTROUTING -p udp -m udp --dport 7000 -j SNAT --to-source $second`},
	{name: "ports", script: `
$iptables -t nat -A POSTROUTING -p tcp -m multiport --dports 1:80,7000 -j SNAT --to-source $second
$iptables -t nat -A POSTROUTING -p tcp -j MASQUERADE`},
	{name: "accepted before", script: `
$iptables -t nat -A POSTROUTING -d $outside -j ACCEPT
$iptables -t nat -A POSTROUTING -j MASQUERADE`},
	{name: "netmap to itself", script: `
$iptables -t nat -A POSTROUTING -s $pods -d $outside -j NETMAP --to $pods
$iptables -t nat -A POSTROUTING -j MASQUERADE`},
	{name: "kube-proxy", script: `
$iptables -t nat -N KUBE-POSTROUTING
$iptables -t nat -N KUBE-MARK-MASQ
$iptables -t nat -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
$iptables -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
$iptables -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
$iptables -t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
$iptables -t nat -A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`},
	{name: "kube-proxy, marked", script: `
$iptables -t nat -N KUBE-POSTROUTING
$iptables -t nat -N KUBE-SVC-X
$iptables -t nat -A PREROUTING -d $outside -m comment --comment "ns/x cluster IP" -j KUBE-SVC-X
$iptables -t nat -A KUBE-SVC-X -j MARK --or-mark 0x4000
$iptables -t nat -A POSTROUTING -j KUBE-POSTROUTING
$iptables -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
$iptables -t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
$iptables -t nat -A KUBE-POSTROUTING -j MASQUERADE`},
	{name: "flannel", script: `
$iptables -t nat -N FLANNEL-POSTRTG
$iptables -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
$iptables -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
$iptables -t nat -A FLANNEL-POSTRTG -s $pods -d $cluster -m comment --comment "flanneld masq" -j RETURN
$iptables -t nat -A FLANNEL-POSTRTG -s $cluster -d $pods -m comment --comment "flanneld masq" -j RETURN
$iptables -t nat -A FLANNEL-POSTRTG ! -s $cluster -d $pods -m comment --comment "flanneld masq" -j RETURN
$iptables -t nat -A FLANNEL-POSTRTG -s $cluster ! -d $multicast -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
$iptables -t nat -A FLANNEL-POSTRTG ! -s $cluster -d $cluster -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`},
	{name: "docker", script: `
$iptables -t nat -N DOCKER
$iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
$iptables -t nat -A POSTROUTING -s $docker ! -o docker0 -j MASQUERADE
$iptables -t nat -A POSTROUTING -s $pods ! -o pod -m addrtype ! --dst-type LOCAL -j MASQUERADE`},
	{name: "calico", script: `
ipset create cali40masq-ipam-pools-$v hash:net family inet$six
ipset create cali40all-ipam-pools-$v hash:net family inet$six
ipset add cali40masq-ipam-pools-$v $pods
ipset add cali40all-ipam-pools-$v $pods
ipset add cali40all-ipam-pools-$v $outside
$iptables -t nat -N cali-POSTROUTING
$iptables -t nat -N cali-nat-outgoing
$iptables -t nat -A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
$iptables -t nat -A cali-POSTROUTING -j cali-nat-outgoing
$iptables -t nat -A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools-$v src -m set ! --match-set cali40all-ipam-pools-$v dst -j MASQUERADE --random-fully`},
	{name: "set with ports", script: `
ipset create services-$v hash:ip,port family inet$six
ipset add services-$v $outside,tcp:7000
$iptables -t nat -A POSTROUTING -m set --match-set services-$v dst,dst -j MASQUERADE`},
	{name: "ip-masq-agent", script: `
$iptables -t nat -N IP-MASQ-AGENT
$iptables -t nat -A POSTROUTING -m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
$iptables -t nat -A IP-MASQ-AGENT -d $outside -j RETURN
$iptables -t nat -A IP-MASQ-AGENT -m comment --comment "must be last" -j MASQUERADE`},
	{name: "at random", uncertain: true, script: `$iptables -t nat -A POSTROUTING -m statistic --mode random --probability 0.5 -j MASQUERADE`},
	{name: "at random, the same", script: `
$iptables -t nat -A POSTROUTING -m statistic --mode random --probability 0.5 -j MASQUERADE
$iptables -t nat -A POSTROUTING -m limit --limit 5/min -j LOG
$iptables -t nat -A POSTROUTING -j MASQUERADE`},
	{name: "a module that is not known", uncertain: true, script: `$iptables -t nat -A POSTROUTING -m hashlimit --hashlimit-upto 5/sec --hashlimit-name x -j MASQUERADE`},
	{name: "established", script: `$iptables -t nat -A POSTROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j MASQUERADE`},
	{name: "dnat'ed only", script: `$iptables -t nat -A POSTROUTING -m conntrack --ctstate DNAT -j MASQUERADE`},

	{name: "nft masquerade", script: `nft "table $ip foreign { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }"`},
	{name: "nft kube-proxy", script: `nft -f - <<X
table $ip kube-proxy {
	chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
	chain masquerading {
		meta mark and 0x4000 == 0 return
		meta mark set meta mark xor 0x4000
		masquerade fully-random
	}
	chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
	map service-ips { type ipv${v}_addr . inet_proto . inet_service : verdict; elements = { $outside . tcp . 7000 : goto service-x }; }
	chain service-x { $ip daddr $outside jump mark-for-masquerade; }
	chain services { $ip daddr . meta l4proto . th dport vmap @service-ips; }
	chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
}
X`},
	{name: "nft flannel", script: `nft -f - <<X
table $ip flannel-$ip {
	comment "rules for flannel-$ip"
	chain postrtg {
		comment "chain to manage traffic masquerading by flannel"
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x4000 == 0x4000 return
		$ip saddr $pods $ip daddr $cluster return
		$ip saddr $cluster $ip daddr $pods return
		$ip saddr != $pods $ip daddr $cluster return
		$ip saddr $cluster $ip daddr != $multicast masquerade fully-random
	}
}
X`},
	{name: "nft maps", script: `nft -f - <<X
table inet maps$v {
	map m { type ipv${v}_addr : ipv${v}_addr; flags interval; elements = { $pods : $second }; }
	set s { type ipv${v}_addr . inet_service; flags interval; elements = { $outside . 6000-8000 }; }
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		$ip daddr . tcp dport @s snat $ip to $ip saddr map @m
		$ip saddr $pods udp dport { 53, 7000 } ct state new meta l4proto { udp, tcp } iifname "po*" masquerade
	}
}
X`},
	{name: "nft firewalld", script: `nft -f - <<X
table inet firewalld$v {
	chain nat_POSTROUTING {
		type nat hook postrouting priority srcnat + 10; policy accept;
		jump nat_POSTROUTING_POLICIES
	}
	chain nat_POSTROUTING_POLICIES {
		iifname "pod" oifname "eth0" jump nat_POST_policy_public
		oifname vmap { "eth*" : goto nat_POST_public, "pod" : accept }
	}
	chain nat_POST_policy_public { $ip daddr != $outside return; masquerade; }
	chain nat_POST_public { meta nfproto ipv$v oifname != "lo" fib daddr type != local masquerade; }
}
X`},
	{name: "nft one after the other", script: `nft -f - <<X
table $ip late { chain post { type nat hook postrouting priority srcnat + 5; masquerade; }; }
table $ip early { chain post { type nat hook postrouting priority srcnat - 5; $ip daddr $outside snat to $second; accept; }; }
X`},
	{name: "nft of one priority", uncertain: true, script: `nft -f - <<X
table $ip one { chain post { type nat hook postrouting priority srcnat; masquerade; }; }
table $ip other { chain post { type nat hook postrouting priority srcnat; snat to $second; }; }
X`},
	{name: "nft at random", uncertain: true, script: `nft -f - <<X
table $ip one { chain post { type nat hook postrouting priority srcnat; numgen random mod 2 vmap { 0 : goto m, 1 : accept }; }; chain m { masquerade; }; }
X`},
}

// families are the lab's, as scripts name them.
var families = map[string]map[string]string{
	"4": {
		"ip": "ip", "six": "", "pods": "10.244.1.0/24", "cluster": "10.244.0.0/16", "outside": nattest.Outside4, "second": "192.0.2.77",
		"multicast": "224.0.0.0/4", "docker": "172.17.0.0/16", "elsewhere": nattest.Elsewhere4, "pod": nattest.Pod4, "neighbour": nattest.Neighbour4,
	},
	"6": {
		"ip": "ip6", "six": "6", "pods": "fd00:1::/64", "cluster": "fd00::/16", "outside": nattest.Outside6, "second": "2001:db8::77",
		"multicast": "ff00::/8", "docker": "fd17::/64", "elsewhere": nattest.Elsewhere6, "pod": nattest.Pod6, "neighbour": nattest.Neighbour6,
	},
}

func (r ruleset) load(t *testing.T, kind string) {
	t.Helper()
	for v, names := range families {
		iptables := "iptables-" + kind
		if v == "6" {
			iptables = "ip6tables-" + kind
		}
		env := []string{"set -e", "v=" + v, "iptables=" + iptables}
		for name, value := range names {
			env = append(env, name+"="+value)
		}
		nettest.Run(t, "sh", "-c", strings.Join(append(env, r.script), "\n"))
	}
}

// TestEvaluationAgreesWithTheKernel loads rule sets, sends real packets and compares the source that arrives with the one
// that was evaluated before.
func TestEvaluationAgreesWithTheKernel(t *testing.T) {
	plans := map[string]func(testing.TB){
		"alone": func(testing.TB) {},
		"keep": func(t testing.TB) {
			nattest.Apply(t, nftables.New(), nattest.Plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: nattest.Prefixes(nattest.Outside4+"/32", nattest.Outside6+"/128")}))
		},
		"node": func(t testing.TB) {
			nattest.Apply(t, nftables.New(), nattest.Plan(nat.Policy{Name: "node", Source: nat.SourceNode, Destinations: nattest.Prefixes(nattest.Elsewhere4+"/32", nattest.Elsewhere6+"/128")}))
		},
	}
	l := nattest.NewLab(t)
	nettest.Self.IP(t, "addr add 2001:db8::77/64 dev eth0 nodad preferred_lft 0")
	questions, unknown := 0, 0
	for _, rules := range rulesets {
		kinds := []string{"nft", "legacy"}
		if strings.HasPrefix(rules.name, "nft") || rules.name == "none" {
			kinds = []string{"nft"}
		}
		for _, kind := range kinds {
			for with, apply := range plans {
				t.Run(fmt.Sprintf("%s/%s/%s", rules.name, kind, with), func(t *testing.T) {
					t.Cleanup(func() { nattest.Flush(t) })
					rules.load(t, kind)
					apply(t)
					n, u := compare(t, l, rules.uncertain)
					questions, unknown = questions+n, unknown+u
				})
			}
		}
	}
	t.Logf("%d questions, %d of them answered as unknown", questions, unknown)
}

// compare sends real packets of the pod and compares the source that arrives with the one that was evaluated before. A packet
// that does not arrive has none.
func compare(t *testing.T, l nattest.Lab, uncertain bool) (questions, unknown int) {
	t.Helper()
	for v, names := range families {
		read := host.Read(context.Background(), map[string]int{"4": 4, "6": 6}[v], true)
		for _, to := range []string{"outside", "elsewhere", "neighbour"} {
			for network, protocol := range map[string]uint8{"tcp": 6, "udp": 17} {
				questions++
				answer, err := host.Ask(read, audit.Question{
					Pod: netip.MustParseAddr(names["pod"]), To: netip.MustParseAddr(names[to]), Protocol: protocol, Port: 7000,
				})
				if err != nil {
					t.Fatal(err)
				}
				if answer.Kind == audit.Unknown && uncertain {
					unknown++
					continue
				}
				if answer.Kind == audit.Dropped && network == "udp" {
					continue // a packet that does not arrive takes seconds
				}
				got, err := nattest.Seen(l.Pod, network, "", names[to])
				if answer.Kind == audit.Dropped && err != nil {
					continue
				}
				if err != nil || answer.Source.String() != got {
					t.Errorf("%s to %s: evaluated %s %v, arrived %s; %v; %s; steps %v", network, names[to], answer.Source, answer.Outcome, got, err, answer.Rule, answer.Steps)
				}
			}
		}
	}
	return questions, unknown
}

// TestEvaluationOfWaymarksOwnRules is the same for all backends, with policies of every source on a node that is a gateway.
func TestEvaluationOfWaymarksOwnRules(t *testing.T) {
	l := nattest.NewLab(t)
	nettest.Self.IP(t, "addr add 2001:db8::77/64 dev eth0 nodad preferred_lft 0")
	exits := []nat.Exit{
		{Mark: 1, Device: "waymark1", Address: netip.MustParseAddr("192.0.2.77")},
		{Mark: 2, Device: "waymark2", Address: netip.MustParseAddr("2001:db8::77"), First: 1024, Last: 32767},
		{Mark: 3, Device: "waymark3"},
	}
	outside := nattest.Prefixes(nattest.Outside4+"/32", nattest.Outside6+"/128")
	gateway := func(via ...nat.Path) nat.Policy {
		return nat.Policy{Name: "a", Source: nat.SourceGateway, Destinations: outside, Via: via, Fallback: nat.SourceDrop}
	}
	for name, policies := range map[string][]nat.Policy{
		"pod":             {{Name: "a", Source: nat.SourcePod, Destinations: outside}},
		"node":            {{Name: "a", Source: nat.SourceNode}},
		"fixed address":   {gateway(nat.Path{Mark: 1, IPv4: true}, nat.Path{Mark: 2, IPv6: true})},
		"node's address":  {gateway(nat.Path{Mark: 3, IPv4: true, IPv6: true})},
		"no gateway":      {gateway(nat.Path{Mark: 1, IPv4: true})},
		"selects the pod": {{Name: "b", Source: nat.SourceNode, Selects: true, Pods: []netip.Addr{netip.MustParseAddr(nattest.Pod4)}}, {Name: "c", Priority: 1, Source: nat.SourcePod}},
	} {
		for _, backend := range []nattest.Backend{nftables.New(), iptables.New(iptables.NFT), iptables.New(iptables.Legacy)} {
			for _, foreign := range []string{"none", "nft masquerade", "masquerade"} {
				if name == "no gateway" && foreign != "none" {
					continue
				}
				t.Run(name+"/"+backend.Name()+"/"+foreign, func(t *testing.T) {
					t.Cleanup(func() { nattest.Flush(t) })
					p := nattest.Plan(policies...)
					p.Exits, p.Tunnel = exits, nat.Tunnel{Port: 8479, Peers: nattest.Prefixes("192.0.2.2/32"), MTU: 1450, Prefix: "waymark"}
					i := slices.IndexFunc(rulesets, func(r ruleset) bool { return r.name == foreign })
					rulesets[i].load(t, "nft")
					nattest.Apply(t, backend, p)
					// Where the iptables backend and others have chains of one priority, it is not known who is first.
					_, unknown := compare(t, l, foreign == "nft masquerade" && strings.HasPrefix(backend.Name(), "iptables") || foreign == "masquerade" && backend.Name() == "iptables-legacy")
					t.Logf("unknown: %d", unknown)
				})
			}
		}
	}
}
