package v1alpha1

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestRegistryCheck(t *testing.T) {
	const form = "must be HOST:PORT, of IPv6 [ADDRESS]:PORT"
	servers := func(c *RegistryCheck, list ...string) { c.Spec.Registry.ZooKeeper.Servers = list }
	nacos := func(c *RegistryCheck) {
		c.Spec.Registry = Registry{Nacos: &NacosRegistry{RegistryServers: RegistryServers{Servers: []string{"nacos:8848"}}, Group: "SHOP"}}
	}
	run(t, func() RegistryCheck {
		return RegistryCheck{ObjectMeta: named("shop"), Spec: RegistryCheckSpec{
			Registry: Registry{ZooKeeper: &ZooKeeperRegistry{
				RegistryServers: RegistryServers{
					Servers:    []string{"10.132.7.20:2181", "[2001:db8::20]:2181", "zk.example.com:2181"},
					TLS:        &RegistryTLS{Secret: &SecretName{Namespace: "waymark-system", Name: "waymark-registry"}},
					AuthSecret: &SecretKey{Namespace: "waymark-system", Name: "waymark-registry", Key: "auth"},
				},
				Chroot: "/prod/shop", Root: "dubbo", AdminPort: ptr[int32](8080),
			}},
			Interval: seconds(30), Timeout: &metav1.Duration{Duration: 100 * time.Millisecond}, Dials: ptr[int32](200), Protocols: []string{"tri"},
			FromPods:     []FromPod{{Namespace: "shop", Name: "cart-0"}, {Namespace: "shop", Selector: &metav1.LabelSelector{}}},
			EgressPolicy: "datacenter",
		}}
	}, func(c *RegistryCheck) field.ErrorList { return c.Validate() }, []change[RegistryCheck]{
		{"Nacos", func(c *RegistryCheck) { nacos(c); c.Spec.FromPods, c.Spec.EgressPolicy = nil, "" }, ""},
		{"Nacos with what only ZooKeeper has", func(c *RegistryCheck) { nacos(c); c.Spec.FromPods = nil },
			"spec.egressPolicy: Forbidden: goes with registry.zookeeper only: Nacos does not say as whom it sees a client"},
		{"no registry", func(c *RegistryCheck) { c.Spec.Registry = Registry{} }, "spec.registry: Required value: set one of zookeeper and nacos"},
		{"long name", func(c *RegistryCheck) { c.Name = strings.Repeat("a", 64) }, "metadata.name: Too long: may not be more than 63 bytes"},
		{"no server", func(c *RegistryCheck) { servers(c) }, "spec.registry.zookeeper.servers: Required value: HOST:PORT of at least one server"},
		{"no port", func(c *RegistryCheck) { servers(c, "zk") }, `spec.registry.zookeeper.servers[0]: Invalid value: "zk": ` + form},
		{"port 0", func(c *RegistryCheck) { servers(c, "zk:0") }, `spec.registry.zookeeper.servers[0]: Invalid value: "zk:0": ` + form},
		{"password in a server", func(c *RegistryCheck) { servers(c, "a:b@zk:1") }, "spec.registry.zookeeper.servers[0]: Forbidden: user and password belong into a Secret: see authSecret"},
		{"server twice", func(c *RegistryCheck) { servers(c, "zk:1", "zk:1") }, `spec.registry.zookeeper.servers[1]: Duplicate value: "zk:1"`},
		{"chroot with an end", func(c *RegistryCheck) { c.Spec.Registry.ZooKeeper.Chroot = "/a/" }, `spec.registry.zookeeper.chroot: Invalid value: "/a/": must be a path, as /prod`},
		{"root with a beginning", func(c *RegistryCheck) { c.Spec.Registry.ZooKeeper.Root = "/a" }, `spec.registry.zookeeper.root: Invalid value: "/a": must be a name, as dubbo`},
		{"no key", func(c *RegistryCheck) { c.Spec.Registry.ZooKeeper.AuthSecret.Key = "" }, "spec.registry.zookeeper.authSecret.key: Required value"},
		{"no Secret", func(c *RegistryCheck) { c.Spec.Registry.ZooKeeper.TLS.Secret.Name = "" }, "spec.registry.zookeeper.tls.secret.name: Required value"},
		{"interval too short", func(c *RegistryCheck) { c.Spec.Interval = seconds(29) }, `spec.interval: Invalid value: "29s": must be 30s..86400s`},
		{"too many dials", func(c *RegistryCheck) { c.Spec.Dials = ptr[int32](201) }, "spec.dials: Invalid value: 201: must be 1..200"},
		{"no protocol", func(c *RegistryCheck) { c.Spec.Protocols = []string{""} }, `spec.protocols[0]: Invalid value: "": is no protocol, as dubbo or tri`},
		{"a pod by name and selector", func(c *RegistryCheck) { c.Spec.FromPods[1].Name = "a" }, `spec.fromPods[1]: Invalid value: "a": set one of name and selector`},
	})
}
