package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressCluster tells what becomes of egress addresses in a cluster, one thing after the other. Agents and controllers
// have the accounts that are shipped.
func TestEgressCluster(t *testing.T) {
	c := NewEgressCluster(t)
	before := kernelStates(t, c.Lab)
	for _, story := range []struct {
		name string
		tell func(t *testing.T, c *EgressCluster)
	}{
		{"pods are selected by labels", labelledPods},
		{"new pods have the right source from the first packet", newPods},
		{"only nodes may send into tunnels", strangerInTunnel},
		{"a gateway dies while the API server is away", gatewayDiesAlone},
		{"a gateway dies", gatewayDies},
		{"a gateway drains", gatewayDrains},
		{"a role makes gateways", gatewaysOfRole},
		{"policies that cannot be in force", badEgressPolicies},
	} {
		c.StartControllers()
		if !t.Run(story.name, func(t *testing.T) { story.tell(t, c) }) {
			t.FailNow() // the next one begins where this one ends
		}
		c.inspect(t)
	}
	c.must(t, "delete", "egresspolicy", "--all")
	nettest.Eventually(t, 20*time.Second, func() error {
		for _, n := range c.Nodes {
			state, err := c.state(n.Name)
			if err == nil && (len(state.Spec.TunnelPeers) > 0 || len(state.Status.Egress) > 0 || len(state.Status.Policies) > 0) {
				err = fmt.Errorf("of %s there is left: %+v %+v", n.Name, state.Spec, state.Status)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	wantStates(t, c.Lab, before)
}

// inspect runs the commands for people.
func (c *EgressCluster) inspect(t *testing.T) {
	t.Helper()
	for _, command := range []string{"status", "explain policy bank", "explain node n2"} {
		_, err := nettest.Self.Try(program(t, "waymark"), append(strings.Fields(command), "--kubeconfig", c.Admin)...)
		if err != nil && !strings.Contains(err.Error(), "exit status 2") {
			t.Errorf("waymark %s: %v", command, err)
		}
	}
}

func labelledPods(t *testing.T, c *EgressCluster) {
	one, three := c.Node(t, "n1"), c.Node(t, "n3")
	c.Apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: pay, labels: {team: pay}}
---
apiVersion: waymark.io/v1alpha1
kind: AddressPool
metadata: {name: egress}
spec: {cidrs: [198.51.100.8/29, "2001:db8:51::8/125"], use: Egress}
`)
	bank := c.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, "pool: egress")
	c.Apply(t, selecting(bank, "{podSelector: {matchLabels: {app: bank}}}"))
	c.AddPod(t, one, "pay", "bank", "app: bank")
	c.AddPod(t, three, "pay", "shop", "app: shop")
	leaves(t, three.Pod, three.Address, three.Address6)
	c.Apply(t, selecting(bank, "{namespaceSelector: {matchLabels: {team: pay}}, podSelector: {matchLabels: {app: bank}}}"))
	c.until(t, "bank", "all gateways are in", func(names []string, _ int64) bool { return len(names) == 3 })
	c.Settled(t, 2)
	address4, address6 := c.addresses(t)
	leaves(t, one.Pod, address4, address6)
	leaves(t, three.Pod, three.Address, three.Address6)
	nettest.Eventually(t, 20*time.Second, func() error {
		want := regexp.MustCompile(`(?s)GATEWAY.*\nbank +10 +Gateway +` + c.policy(t, "bank").Status.Addresses[0].Gateways[0].Node + `.* True `)
		out, err := c.Kubectl("get", "egresspolicy", "bank")
		if err == nil && !want.MatchString(out) {
			err = fmt.Errorf("want the gateway and Ready in\n%s", out)
		}
		return err
	})
	c.must(t, "label", "pod", "shop", "--namespace=pay", "app=bank", "--overwrite")
	leaves(t, three.Pod, address4, address6)
	leaves(t, one.Pod, address4, address6)
	c.must(t, "label", "pod", "shop", "--namespace=pay", "app=shop", "--overwrite")
	leaves(t, three.Pod, three.Address, three.Address6)
	c.must(t, "label", "namespace", "pay", "team=other", "--overwrite")
	leaves(t, one.Pod, one.Address, one.Address6)
	c.must(t, "label", "namespace", "pay", "team=pay", "--overwrite")
	leaves(t, one.Pod, address4, address6)
	one.NS.Run(t, "conntrack", "-F") // what has begun with another address keeps it, and ports are used again
}

// addresses are those of the policy bank.
func (c *EgressCluster) addresses(t testing.TB) (address4, address6 string) {
	t.Helper()
	list := c.policy(t, "bank").Status.Addresses
	if len(list) != 2 {
		t.Fatalf("want an address of each family: %+v", list)
	}
	return list[0].Address, list[1].Address
}

func strangerInTunnel(t *testing.T, c *EgressCluster) {
	const stranger, inside = "198.18.1.77", "10.99.0.1"
	one := c.Node(t, "n1")
	host := nettest.New(t, "stranger")
	nettest.Join(t, host, "eth0", []string{stranger + "/24"}, one.Switch, "stranger", nil)
	one.Switch.IP(t, "link set stranger master br0")
	host.IP(t, "route add default via 198.18.1.254")
	a := c.policy(t, "bank").Status.Addresses[0]
	owner := c.Node(t, a.Gateways[0].Node)
	mac := strings.TrimSpace(owner.NS.Run(t, "cat", fmt.Sprintf("/sys/class/net/waymark%d/address", a.VNI)))
	host.IP(t, fmt.Sprintf("link add tunnel type vxlan id %d remote %s local %s dstport 8479", a.VNI, owner.Address, stranger))
	host.IP(t, "addr add "+inside+"/32 dev tunnel")
	host.IP(t, "link set tunnel up")
	host.IP(t, "neigh add 10.99.0.2 lladdr "+mac+" dev tunnel")
	host.IP(t, "route add "+egresslab.Partner4+" via 10.99.0.2 dev tunnel onlink src "+inside)
	dump := c.Partner.Start(t, "tcpdump", "-lni", "eth0", "udp dst port 7003")
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(dump.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet")
		}
		return nil
	})
	send := func() { host.Run(t, "bash", "-c", "echo x > /dev/udp/"+egresslab.Partner4+"/7003") }
	for range 20 {
		send()
	}
	c.AddNode(t, "n5", "", "", "", stranger)
	if strings.Contains(dump.Output(), "7003: UDP") {
		t.Errorf("the partner has heard of a host that is no node: %s", dump.Output())
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		send()
		if !strings.Contains(dump.Output(), "IP "+a.Address+".") {
			return fmt.Errorf("the partner has not heard of the new node: %s", dump.Output())
		}
		return nil
	})
	c.must(t, "delete", "node", "n5")
	nettest.Eventually(t, 20*time.Second, func() error {
		heard := strings.Count(dump.Output(), "7003: UDP")
		send()
		time.Sleep(50 * time.Millisecond)
		if strings.Count(dump.Output(), "7003: UDP") > heard {
			return fmt.Errorf("the partner still hears of the node that was deleted")
		}
		return nil
	})
}

// gatewayDiesAlone takes the cable of the owner out and stops the API server at the same time.
func gatewayDiesAlone(t *testing.T, c *EgressCluster) {
	address, _ := c.addresses(t)
	client := c.Node(t, "n1")
	names, term := c.gateways(t, "bank")
	prober := egresslab.StartProber(t, client.Pod, "udp", egresslab.Partner4, probeInterval)
	time.Sleep(500 * time.Millisecond)
	c.StopAPI()
	begin := time.Now()
	c.Node(t, names[0]).Cut(t)
	time.Sleep(3 * time.Second)
	second := client.Owner(t, address)
	if second == names[0] || second == "" {
		t.Fatalf("%s is dead, and new connections go to %q", names[0], second)
	}
	c.StartAPI(c.T)
	c.StartControllers()
	c.until(t, "bank", "the failover is noted", func(now []string, next int64) bool { return now[0] == second && next == term+1 })
	c.told(t, "bank", "Failover", address+" moved from "+names[0]+" to "+second)
	c.Node(t, names[0]).Mend(t)
	c.ownedOnce(t, 3*time.Second)
	c.Settled(t, 2)
	probes := prober.Stop()
	lost := egresslab.Outage(probes, begin, probeInterval)
	t.Logf("%s then %s: outage %v, sources %v", names[0], second, lost, egresslab.Sources(probes))
	if lost > time.Second {
		t.Errorf("new connections were lost for %v: %s", lost, egresslab.Losses(probes, begin))
	}
	if now := client.Owner(t, address); now != second {
		t.Errorf("new connections go to %s again, want %s", now, second)
	}
	c.until(t, "bank", "nothing moves back", func(now []string, next int64) bool {
		return len(now) == 3 && now[0] == second && next == term+1
	})
	c.heard(t, address, term+1)
}

func gatewayDies(t *testing.T, c *EgressCluster) {
	address, _ := c.addresses(t)
	client := c.Node(t, "n1")
	names, term := c.gateways(t, "bank")
	prober := egresslab.StartProber(t, client.Pod, "udp", egresslab.Partner4, probeInterval)
	time.Sleep(500 * time.Millisecond)
	begin := time.Now()
	c.Node(t, names[0]).Cut(t)
	c.until(t, "bank", "the failover is noted", func(now []string, next int64) bool { return now[0] != names[0] && next == term+1 })
	t.Logf("noted %v after the death", time.Since(begin))
	now, _ := c.gateways(t, "bank")
	c.told(t, "bank", "Failover", address+" moved from "+names[0]+" to "+now[0])
	// Its addresses of both families may have different owners, and the dead one is none.
	nettest.Eventually(t, 5*time.Second, func() error {
		got := strings.Split(c.policy(t, "bank").Status.Gateway, ", ")
		if !slices.Contains(got, now[0]) || slices.Contains(got, names[0]) {
			return fmt.Errorf("the gateways in the status are %v, want %s and not %s", got, now[0], names[0])
		}
		return nil
	})
	c.Node(t, names[0]).Mend(t)
	c.ownedOnce(t, 3*time.Second)
	c.Settled(t, 2)
	probes := prober.Stop()
	if lost := egresslab.Outage(probes, begin, probeInterval); lost > time.Second {
		t.Errorf("new connections were lost for %v: %s", lost, egresslab.Losses(probes, begin))
	}
	if owner := client.Owner(t, address); owner != now[0] {
		t.Errorf("new connections go to %s, want %s", owner, now[0])
	}
}

// gatewayDrains drains the owner; the leading controller is killed meanwhile.
func gatewayDrains(t *testing.T, c *EgressCluster) {
	address, _ := c.addresses(t)
	client := c.Node(t, "n1")
	names, term := c.gateways(t, "bank")
	drained := c.Node(t, names[0])
	stop := undisturbed(t, client.Pod, address)
	stopTalking := talk(t, client, address)
	time.Sleep(500 * time.Millisecond)
	c.must(t, "label", "node", drained.Name, v1alpha1.Drain+"=")
	time.Sleep(500 * time.Millisecond)
	c.leader(t).Kill()
	c.StartControllers()
	time.Sleep(3500 * time.Millisecond)
	stopTalking() // what is left of the drain time is short
	c.until(t, "bank", "the drained node is out", func(now []string, next int64) bool {
		return len(now) == 2 && next == term+1 && !slices.ContainsFunc(now, func(n string) bool { return strings.TrimSuffix(n, "-") == drained.Name })
	})
	nettest.Eventually(t, 20*time.Second, func() error {
		state, err := c.state(drained.Name)
		if err == nil && (len(state.Status.Egress) > 0 || len(state.Spec.TunnelPeers) > 0 || state.Status.Drain == nil || state.Status.Drain.Phase != v1alpha1.Drained) {
			err = fmt.Errorf("of %s there is left: %+v %+v", drained.Name, state.Spec, state.Status)
		}
		if left := drained.NS.Run(t, "sh", "-c", "ip -o link show type vxlan; ip rule | grep 179; ip route show table all | grep "+address+"; true"); err == nil && strings.Contains(left, "waymark") {
			err = fmt.Errorf("on %s there is left: %s", drained.Name, left)
		}
		return err
	})
	c.must(t, "label", "node", drained.Name, v1alpha1.Drain+"-")
	c.until(t, "bank", "the node stands by again", func(now []string, next int64) bool {
		return len(now) == 3 && next == term+1 && now[2] == drained.Name
	})
	c.Settled(t, 2)
	stop()
	c.ownedOnce(t, time.Second)
}

// gatewaysOfRole has a NodeRole say which nodes are gateways of another policy.
func gatewaysOfRole(t *testing.T, c *EgressCluster) {
	three := c.Node(t, "n3")
	c.Apply(t, selecting(strings.Replace(c.Policy("shops", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [198.51.100.9, "2001:db8:51::9"]`),
		isGateway, "shops.example/gateway", 1), "{podSelector: {matchLabels: {app: shop}}}")+`---
apiVersion: waymark.io/v1alpha1
kind: NodeRole
metadata: {name: shop-gateways}
spec: {label: {key: shops.example/gateway}, nodeSelector: {matchLabels: {`+isGateway+`: enabled}}, nodes: 2}
`)
	c.until(t, "shops", "the label has come", func(now []string, _ int64) bool { return len(now) == 2 })
	names, term := c.gateways(t, "shops")
	leaves(t, three.Pod, "198.51.100.9", "2001:db8:51::9")
	stop := undisturbed(t, three.Pod, "198.51.100.9")
	status := func(node, ready string) {
		t.Helper()
		c.must(t, "patch", "node", node, "--subresource=status", "--type=strategic", "-p", `{"status":{"conditions":[{"type":"Ready","status":"`+ready+`"}]}}`)
	}
	// The standby of the list fails: the third comes in, and the owner stays.
	status(names[1], "False")
	c.until(t, "shops", "the third node is in", func(now []string, next int64) bool {
		return next == term && len(now) == 2 && now[0] == names[0] && now[1] != names[1] && !strings.HasSuffix(now[1], "-")
	})
	status(names[1], "True")
	// The owner drains: it loses the label too, and with it the address.
	c.must(t, "label", "node", names[0], v1alpha1.Drain+"=")
	c.until(t, "shops", "the owner has gone", func(now []string, next int64) bool {
		return next == term+1 && len(now) == 2 && now[0] != names[0] && now[1] != names[0] && !strings.HasSuffix(now[1], "-")
	})
	c.must(t, "label", "node", names[0], v1alpha1.Drain+"-")
	stop()
	c.must(t, "delete", "egresspolicy/shops", "noderole/shop-gateways")
	leaves(t, three.Pod, three.Address, three.Address6)
	c.until(t, "bank", "all are in", func(now []string, _ int64) bool { return len(now) == 3 && !strings.Contains(fmt.Sprint(now), "-") })
	if out := c.must(t, "get", "nodes", "-l", "shops.example/gateway", "-o", "name"); out != "" {
		t.Errorf("the label of the role is still on %s", out)
	}
}
