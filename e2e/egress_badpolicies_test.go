package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// badEgressPolicies makes one policy after the other that cannot be in force as it is meant. Each tells why, and the good one
// does not notice.
func badEgressPolicies(t *testing.T, c *EgressCluster) {
	address4, _ := c.addresses(t)
	one := c.Node(t, "n1")
	stop := undisturbed(t, one.Pod, address4)
	// A network of the nodes may have addresses to hand out, and some are in use.
	c.Apply(t, `
apiVersion: waymark.io/v1alpha1
kind: AddressPool
metadata: {name: shared}
spec: {cidrs: [198.18.1.0/28, "fd18:1::/124"], use: Egress}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: pay}
spec: {ports: [{port: 80}], externalIPs: [198.51.100.13]}
`)
	c.AddNode(t, "old", `example/old: "yes"`, "", "", "198.18.1.99")
	policy := func(name, gateway string) string {
		return selecting(strings.Replace(c.Policy(name, `203.0.113.0/24, "2001:db8:113::/64"`, gateway), "priority: 10", "priority: 5", 1),
			"{podSelector: {matchLabels: {app: bad}}}")
	}
	bad := []struct{ name, policy, reason, message string }{
		{"outside", policy("outside", "addresses: [192.0.2.77]"), "OutsidePools", "192.0.2.77 is in no AddressPool"},
		{"claimed", strings.Replace(policy("claimed", "addresses: ["+address4+"]"), isGateway+": enabled", "kubernetes.io/hostname: n2", 1),
			"Taken", address4 + " is of EgressPolicy bank"},
		{"of-node", policy("of-node", "addresses: [198.18.1.2]"), "InUse", "198.18.1.2 is of node address n2"},
		{"of-service", policy("of-service", "addresses: [198.51.100.13]"), "InUse", "198.51.100.13 is of Service pay/shop"},
		{"nowhere", strings.Replace(policy("nowhere", "addresses: [198.51.100.12]"), isGateway, "example/none", 1), "NoGateway", "no node matches gateway.nodeSelector"},
		{"no-ipv6", strings.Replace(policy("no-ipv6", `addresses: ["2001:db8:51::c"]`), isGateway+": enabled", `example/old: "yes"`, 1),
			"NoFamily", "no node that matches gateway.nodeSelector has an IPv6 address"},
		{"no-pool", policy("no-pool", "pool: missing"), "MissingPool", "there is no AddressPool missing"},
	}
	for _, b := range bad {
		c.Apply(t, b.policy)
	}
	for _, b := range bad {
		nettest.Eventually(t, 20*time.Second, func() error {
			p := c.policy(t, b.name)
			valid := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionValid)
			if valid == nil || valid.Status != "False" || valid.Reason != b.reason || !strings.Contains(valid.Message, b.message) {
				return fmt.Errorf("%s: want %s, %q in %+v", b.name, b.reason, b.message, p.Status)
			}
			if !meta.IsStatusConditionFalse(p.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("%s is Ready: %+v", b.name, p.Status)
			}
			return nil
		})
		c.told(t, b.name, b.reason, b.message)
		if out := c.must(t, "describe", "egresspolicy", b.name); !strings.Contains(out, b.message) {
			t.Errorf("kubectl describe does not say %q: %s", b.message, out)
		}
	}
	// What such a policy selects is not let out with another address: the fallback is Drop.
	three := c.Node(t, "n3")
	c.must(t, "label", "pod", "shop", "--namespace=pay", "app=bad", "--overwrite")
	leaves(t, three.Pod, "", "")
	for _, b := range bad {
		c.must(t, "delete", "egresspolicy", b.name)
	}
	leaves(t, three.Pod, three.Address, three.Address6)
	c.must(t, "label", "pod", "shop", "--namespace=pay", "app=shop", "--overwrite")
	c.must(t, "delete", "node/old", "addresspool/shared")
	c.must(t, "delete", "service", "shop", "--namespace=pay")
	if valid := meta.FindStatusCondition(c.policy(t, "bank").Status.Conditions, v1alpha1.ConditionValid); valid == nil || valid.Status != "True" {
		t.Errorf("the good policy has %+v", valid)
	}
	stop()
}
