package v1alpha1

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func ptr[T any](v T) *T { return &v }

func seconds(s float64) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(s * float64(time.Second))}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

var badSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: "Like"}}}

// change makes a case: a good object, one thing changed, and the only error that must come of it; none if empty.
type change[T any] struct {
	name   string
	change func(*T)
	want   string
}

func run[T any](t *testing.T, good func() T, validate func(*T) field.ErrorList, cases []change[T]) {
	t.Helper()
	for _, c := range append(cases, change[T]{"as it is", func(*T) {}, ""}) {
		t.Run(c.name, func(t *testing.T) {
			o := good()
			c.change(&o)
			errs := validate(&o)
			switch {
			case c.want == "" && len(errs) > 0:
				t.Errorf("refused: %v", errs)
			case c.want != "" && (len(errs) != 1 || errs[0].Error() != c.want):
				t.Errorf("got  %v\nwant %s", errs, c.want)
			}
		})
	}
}

func TestBGPConfiguration(t *testing.T) {
	good := func() BGPConfiguration {
		return BGPConfiguration{ObjectMeta: named("default"), Spec: BGPConfigurationSpec{
			ASN: 64513, ListenPort: ptr(int32(179)),
			GracefulRestart: GracefulRestart{RestartTime: seconds(120)},
			Advertise:       Advertise{Communities: []string{"64512:100"}},
			Learn: Learn{Metric: ptr(int32(200)), Table: ptr(int32(254)), Accept: []LearnRule{
				{"10.0.0.0/8", ptr(int32(8)), ptr(int32(28))}}},
		}}
	}
	type C = BGPConfiguration
	run(t, good, (*C).Validate, []change[C]{
		{"no name", func(c *C) { c.Name = "" }, `metadata.name: Required value`},
		{"another name", func(c *C) { c.Name = "two" }, `metadata.name: Invalid value: "two": there is only one object of this kind, and its name is "default"`},
		{"namespace", func(c *C) { c.Namespace = "x" }, `metadata.namespace: Forbidden: this kind is cluster-scoped`},
		{"ASN 0", func(c *C) { c.Spec.ASN = 0 }, `spec.asn: Required value: an AS number, 1..4294967295`},
		{"ASN negative", func(c *C) { c.Spec.ASN = -1 }, `spec.asn: Invalid value: -1: must be 1..4294967295`},
		{"ASN too large", func(c *C) { c.Spec.ASN = 1 << 32 }, `spec.asn: Invalid value: 4294967296: must be 1..4294967295`},
		{"ASN of 4 bytes", func(c *C) { c.Spec.ASN = 1<<32 - 1 }, ``},
		{"do not listen", func(c *C) { c.Spec.ListenPort = ptr(int32(0)) }, ``},
		{"port", func(c *C) { c.Spec.ListenPort = ptr(int32(65536)) }, `spec.listenPort: Invalid value: 65536: must be 0..65535`},
		{"restart time 0", func(c *C) { c.Spec.GracefulRestart.RestartTime = seconds(0) }, `spec.gracefulRestart.restartTime: Invalid value: "0s": must be 1s..4095s`},
		{"restart time too long", func(c *C) { c.Spec.GracefulRestart.RestartTime = seconds(4096) }, `spec.gracefulRestart.restartTime: Invalid value: "4096s": must be 1s..4095s`},
		{"restart time in parts", func(c *C) { c.Spec.GracefulRestart.RestartTime = seconds(1.5) }, `spec.gracefulRestart.restartTime: Invalid value: "1.5s": must be a multiple of 1s`},
		{"community", func(c *C) { c.Spec.Advertise.Communities[0] = "64512" }, `spec.advertise.communities[0]: Invalid value: "64512": must be 2 numbers of 0..65535 joined by colons, as "64512:100"`},
		{"community too large", func(c *C) { c.Spec.Advertise.Communities[0] = "65536:1" }, `spec.advertise.communities[0]: Invalid value: "65536:1": must be 2 numbers of 0..65535 joined by colons, as "64512:100"`},
		{"metric", func(c *C) { c.Spec.Learn.Metric = ptr(int32(0)) }, `spec.learn.metric: Invalid value: 0: must be 1..2147483647`},
		{"local table", func(c *C) { c.Spec.Learn.Table = ptr(int32(255)) }, `spec.learn.table: Invalid value: 255: is the kernel's table of local addresses`},
		{"host bits", func(c *C) { c.Spec.Learn.Accept[0].Prefix = "10.0.0.1/8" }, `spec.learn.accept[0].prefix: Invalid value: "10.0.0.1/8": has host bits set: did you mean 10.0.0.0/8`},
		{"minLength over maxLength", func(c *C) { c.Spec.Learn.Accept[0].MinLength = ptr(int32(29)) }, `spec.learn.accept[0].maxLength: Invalid value: 28: is less than minLength, 29`},
		{"minLength shorter than the prefix", func(c *C) { c.Spec.Learn.Accept[0].MinLength = ptr(int32(7)) }, `spec.learn.accept[0].minLength: Invalid value: 7: must be 8..32`},
		{"maxLength beyond the family", func(c *C) { c.Spec.Learn.Accept[0].MaxLength = ptr(int32(33)) }, `spec.learn.accept[0].maxLength: Invalid value: 33: must be 8..32`},
		{"IPv6 lengths", func(c *C) { c.Spec.Learn.Accept[0] = LearnRule{"2001:db8::/32", nil, ptr(int32(64))} }, ``},
	})
}

func TestBGPPeer(t *testing.T) {
	good := func() BGPPeer {
		return BGPPeer{ObjectMeta: named("rr1"), Spec: BGPPeerSpec{
			NodeSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"rack": "a"}},
			Address:      "10.132.2.254", ASN: 64512, Port: ptr(int32(179)),
			PasswordSecret: &SecretKey{"waymark-system", "rr", "password"},
			Multihop:       &Multihop{2},
			Timers:         Timers{seconds(90), seconds(30), seconds(5)},
			BFD:            &BFD{seconds(0.3), ptr(int32(3))},
			Families:       []string{"ipv4", "ipv6"},
			Import:         []FilterRule{{"0.0.0.0/0", ptr(int32(0)), ptr(int32(0)), "Reject"}},
			MaxPrefixes:    ptr(int64(20000)), AllowOwnAS: ptr(int32(1)),
			Attributes: ExportAttributes{ptr(int64(10)), ptr(int64(200)), ptr(int32(1)), []string{"1:2"}, []string{"1:2:4294967295"}},
		}}
	}
	type P = BGPPeer
	run(t, good, (*P).Validate, []change[P]{
		{"name", func(p *P) { p.Name = "RR" }, `metadata.name: Invalid value: "RR": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		{"selector", func(p *P) { p.Spec.NodeSelector = badSelector }, `spec.nodeSelector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`},
		{"no address", func(p *P) { p.Spec.Address = "" }, `spec.address: Required value: the peer's address, or fromNodeAnnotation`},
		{"both addresses", func(p *P) { p.Spec.FromNodeAnnotation = "waymark.io/tor" }, `spec.fromNodeAnnotation: Forbidden: excludes address: set one of the two`},
		{"from an annotation", func(p *P) { p.Spec.Address, p.Spec.FromNodeAnnotation = "", "waymark.io/tor" }, ``},
		{"address is a prefix", func(p *P) { p.Spec.Address = "10.1.1.1/24" }, `spec.address: Invalid value: "10.1.1.1/24": is a prefix, not an address: did you mean 10.1.1.1`},
		{"address is a name", func(p *P) { p.Spec.Address = "rr1" }, `spec.address: Invalid value: "rr1": is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1`},
		{"address mapped", func(p *P) { p.Spec.Address = "::ffff:10.1.1.1" }, `spec.address: Invalid value: "::ffff:10.1.1.1": is an IPv4 address in IPv6 form: did you mean 10.1.1.1`},
		{"address multicast", func(p *P) { p.Spec.Address = "224.0.0.5" }, `spec.address: Invalid value: "224.0.0.5": is not the address of one host`},
		{"address unspecified", func(p *P) { p.Spec.Address = "::" }, `spec.address: Invalid value: "::": is not the address of one host`},
		{"ASN", func(p *P) { p.Spec.ASN = 0 }, `spec.asn: Required value: an AS number, 1..4294967295`},
		{"port", func(p *P) { p.Spec.Port = ptr(int32(0)) }, `spec.port: Invalid value: 0: must be 1..65535`},
		{"secret without key", func(p *P) { p.Spec.PasswordSecret.Key = "" }, `spec.passwordSecret.key: Required value`},
		{"ttl 1", func(p *P) { p.Spec.Multihop.TTL = 1 }, `spec.multihop.ttl: Invalid value: 1: must be 2..255`},
		{"multihop and ttlSecurity", func(p *P) { p.Spec.TTLSecurity = &TTLSecurity{1} }, `spec.ttlSecurity: Forbidden: excludes multihop: ttlSecurity.hops says how far away the peer may be`},
		{"ttlSecurity", func(p *P) { p.Spec.Multihop, p.Spec.TTLSecurity = nil, &TTLSecurity{255} }, `spec.ttlSecurity.hops: Invalid value: 255: must be 1..254`},
		{"hold 0", func(p *P) { p.Spec.Timers = Timers{Hold: seconds(0)} }, `spec.timers.hold: Invalid value: "0s": must be 3s..65535s`},
		{"hold 2", func(p *P) { p.Spec.Timers = Timers{Hold: seconds(2)} }, `spec.timers.hold: Invalid value: "2s": must be 3s..65535s`},
		{"hold 3", func(p *P) { p.Spec.Timers = Timers{Hold: seconds(3)} }, ``},
		{"keepalive as long as hold", func(p *P) { p.Spec.Timers.Keepalive = seconds(90) }, `spec.timers.keepalive: Invalid value: "90s": must be less than the hold time, 90s`},
		{"keepalive and the default hold", func(p *P) { p.Spec.Timers = Timers{Keepalive: seconds(100)} }, `spec.timers.keepalive: Invalid value: "100s": must be less than the hold time, 90s`},
		{"keepalive 0", func(p *P) { p.Spec.Timers.Keepalive = seconds(0) }, `spec.timers.keepalive: Invalid value: "0s": must be 1s..65535s`},
		{"connectRetry", func(p *P) { p.Spec.Timers.ConnectRetry = seconds(0) }, `spec.timers.connectRetry: Invalid value: "0s": must be 1s..65535s`},
		{"bfd too fast", func(p *P) { p.Spec.BFD.Interval = seconds(0.009) }, `spec.bfd.interval: Invalid value: "9ms": must be 10ms..60s`},
		{"bfd multiplier", func(p *P) { p.Spec.BFD.Multiplier = ptr(int32(1)) }, `spec.bfd.multiplier: Invalid value: 1: must be 2..255`},
		{"bfd defaults", func(p *P) { p.Spec.BFD = &BFD{} }, ``},
		{"family", func(p *P) { p.Spec.Families[0] = "ipv5" }, `spec.families[0]: Unsupported value: "ipv5": supported values: "ipv4", "ipv6"`},
		{"action", func(p *P) { p.Spec.Import[0].Action = "Drop" }, `spec.import[0].action: Unsupported value: "Drop": supported values: "Accept", "Reject"`},
		{"export prefix", func(p *P) { p.Spec.Export = []FilterRule{{Action: "Accept"}} }, `spec.export[0].prefix: Required value: a prefix, as 10.132.0.0/16`},
		{"maxPrefixes", func(p *P) { p.Spec.MaxPrefixes = ptr(int64(-1)) }, `spec.maxPrefixes: Invalid value: -1: must be 0..4294967295`},
		{"allowOwnAS", func(p *P) { p.Spec.AllowOwnAS = ptr(int32(11)) }, `spec.allowOwnAS: Invalid value: 11: must be 0..10`},
		{"med", func(p *P) { p.Spec.Attributes.MED = ptr(int64(1 << 32)) }, `spec.attributes.med: Invalid value: 4294967296: must be 0..4294967295`},
		{"prepend", func(p *P) { p.Spec.Attributes.Prepend = ptr(int32(11)) }, `spec.attributes.prepend: Invalid value: 11: must be 0..10`},
		{"large community", func(p *P) { p.Spec.Attributes.LargeCommunities[0] = "1:2" }, `spec.attributes.largeCommunities[0]: Invalid value: "1:2": must be 3 numbers of 0..4294967295 joined by colons, as "4200000000:1:100"`},
	})
}

func TestEgressPolicy(t *testing.T) {
	good := func() EgressPolicy {
		return EgressPolicy{ObjectMeta: named("bank"), Spec: EgressPolicySpec{
			Priority: ptr(int32(0)), Pods: &PodSelection{PodSelector: &metav1.LabelSelector{}},
			Destinations: []string{"203.0.113.0/24"}, ExcludeDestinations: []string{"203.0.113.7/32"},
			DestinationsFrom: "DatacenterNetwork", Source: "Gateway",
			Gateway: &EgressGateway{Addresses: []string{"10.132.2.240"}, Fallback: "Drop"},
		}}
	}
	type P = EgressPolicy
	run(t, good, (*P).Validate, []change[P]{
		{"priority", func(p *P) { p.Spec.Priority = ptr(int32(-1)) }, `spec.priority: Invalid value: -1: must be 0..2147483647`},
		{"pod selector", func(p *P) { p.Spec.Pods.PodSelector = badSelector }, `spec.pods.podSelector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`},
		{"no length", func(p *P) { p.Spec.Destinations[0] = "203.0.113.7" }, `spec.destinations[0]: Invalid value: "203.0.113.7": has no length: did you mean 203.0.113.7/32`},
		{"length", func(p *P) { p.Spec.Destinations[0] = "203.0.113.0/33" }, `spec.destinations[0]: Invalid value: "203.0.113.0/33": has a length of more than 32 bits`},
		{"no prefix", func(p *P) { p.Spec.ExcludeDestinations[0] = "bank/24" }, `spec.excludeDestinations[0]: Invalid value: "bank/24": is not a prefix, as 10.132.0.0/16 or 2001:db8::/32`},
		{"destinationsFrom", func(p *P) { p.Spec.DestinationsFrom = "Internet" }, `spec.destinationsFrom: Unsupported value: "Internet": supported values: "DatacenterNetwork"`},
		{"no source", func(p *P) { p.Spec.Source, p.Spec.Gateway = "", nil }, `spec.source: Unsupported value: "": supported values: "Pod", "Node", "Gateway"`},
		{"Gateway without gateway", func(p *P) { p.Spec.Gateway = nil }, `spec.gateway: Required value: with source: Gateway`},
		{"gateway without Gateway", func(p *P) { p.Spec.Source = "Pod" }, `spec.gateway: Forbidden: only with source: Gateway`},
		{"pool and addresses", func(p *P) { p.Spec.Gateway.Pool = "egress" }, `spec.gateway.pool: Forbidden: excludes addresses: set one of the two`},
		{"gateway address", func(p *P) { p.Spec.Gateway.Addresses[0] = "10.132.2" }, `spec.gateway.addresses[0]: Invalid value: "10.132.2": is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1`},
		{"gateway address of the host", func(p *P) { p.Spec.Gateway.Addresses[0] = "127.0.0.1" }, `spec.gateway.addresses[0]: Invalid value: "127.0.0.1": is not an address that others could answer to`},
		{"gateway address of the link", func(p *P) { p.Spec.Gateway.Addresses[0] = "fe80::1%eth0" }, `spec.gateway.addresses[0]: Invalid value: "fe80::1%eth0": is not an address that others could answer to`},
		{"gateway address twice", func(p *P) { p.Spec.Gateway.Addresses = []string{"10.132.2.240", "10.132.2.240"} }, `spec.gateway.addresses[1]: Duplicate value: "10.132.2.240"`},
		{"gateway bfd", func(p *P) { p.Spec.Gateway.BFD = &BFD{Multiplier: ptr(int32(1))} }, `spec.gateway.bfd.multiplier: Invalid value: 1: must be 2..255`},
		{"fallback", func(p *P) { p.Spec.Gateway.Fallback = "None" }, `spec.gateway.fallback: Unsupported value: "None": supported values: "Drop", "Node", "Pod"`},
		{"default fallback", func(p *P) { p.Spec.Gateway.Fallback = "" }, ``},
	})
}

func TestAddressPool(t *testing.T) {
	good := func() AddressPool {
		return AddressPool{ObjectMeta: named("egress"), Spec: AddressPoolSpec{CIDRs: []string{"10.132.2.240/29"}, Use: "Egress"}}
	}
	type P = AddressPool
	run(t, good, (*P).Validate, []change[P]{
		{"no cidrs", func(p *P) { p.Spec.CIDRs = nil }, `spec.cidrs: Required value: at least one prefix`},
		{"overlap", func(p *P) { p.Spec.CIDRs = append(p.Spec.CIDRs, "10.132.2.0/24") }, `spec.cidrs[1]: Invalid value: "10.132.2.0/24": overlaps 10.132.2.240/29 of the same list`},
		{"use", func(p *P) { p.Spec.Use = "" }, `spec.use: Unsupported value: "": supported values: "Egress", "LoadBalancer"`},
	})
}

func TestDatacenterNetwork(t *testing.T) {
	good := func() DatacenterNetwork {
		return DatacenterNetwork{ObjectMeta: named("default"), Spec: DatacenterNetworkSpec{
			CIDRs: []string{"10.132.0.0/16"}, ClusterCIDRs: []string{"10.244.0.0/16"},
			Gateways: []Gateway{{"core1", "10.132.2.254", "huawei-vrp", []string{"10.132.2.0/24"}}},
		}}
	}
	type N = DatacenterNetwork
	run(t, good, (*N).Validate, []change[N]{
		{"another name", func(n *N) { n.Name = "dc2" }, `metadata.name: Invalid value: "dc2": there is only one object of this kind, and its name is "default"`},
		{"everything", func(n *N) { n.Spec.CIDRs[0] = "0.0.0.0/0" }, `spec.cidrs[0]: Invalid value: "0.0.0.0/0": is everything: no pod could have an address`},
		{"nothing", func(n *N) { n.Spec.CIDRs = nil }, `spec.cidrs: Required value: at least one prefix`},
		{"clusterCIDRs", func(n *N) { n.Spec.ClusterCIDRs[0] = "10.244.0.1/16" }, `spec.clusterCIDRs[0]: Invalid value: "10.244.0.1/16": has host bits set: did you mean 10.244.0.0/16`},
		{"two gateways of one name", func(n *N) { n.Spec.Gateways = append(n.Spec.Gateways, n.Spec.Gateways[0]) }, `spec.gateways[1].name: Duplicate value: "core1"`},
		{"dialect", func(n *N) { n.Spec.Gateways[0].Dialect = "ios" }, `spec.gateways[0].dialect: Unsupported value: "ios": supported values: "cisco-ios", "cisco-iosxr", "cisco-nxos", "arista-eos", "huawei-vrp", "h3c-comware", "juniper-junos", "mikrotik", "vyos", "frr", "bird", "linux", "openbsd", "json", "csv"`},
		{"no subnets", func(n *N) { n.Spec.Gateways[0].NodeSubnets = nil }, `spec.gateways[0].nodeSubnets: Required value: at least one prefix`},
	})
}

func TestNodeRole(t *testing.T) {
	good := func() NodeRole {
		return NodeRole{ObjectMeta: named("egress"), Spec: NodeRoleSpec{
			Label:        RoleLabel{Key: "cluster.k8s/egress", Value: "enabled"},
			NodeSelector: metav1.LabelSelector{MatchLabels: map[string]string{"rack": "a"}},
		}}
	}
	type R = NodeRole
	const circle = `spec.nodeSelector: Invalid value: "cluster.k8s/egress": is the role's own label: nodes would be candidates or not by what the role itself does`
	run(t, good, (*R).Validate, []change[R]{
		{"drain", func(r *R) { r.Spec.Label.Key = Drain }, `spec.label.key: Invalid value: "waymark.io/drain": drains the nodes that bear it`},
		{"its own label", func(r *R) { r.Spec.NodeSelector.MatchLabels["cluster.k8s/egress"] = "enabled" }, circle},
		{"not its own label", func(r *R) {
			r.Spec.NodeSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "cluster.k8s/egress", Operator: "DoesNotExist"}}
		}, circle},
	})
}

func TestNode(t *testing.T) {
	for _, tt := range []struct {
		cidr, asn, routerID string
		want                string
	}{
		{"10.244.1.0/24", "4200000001", "10.0.0.1", ""},
		{"10.244.1.7/24", "64513", "10.0.0.1", `spec.podCIDRs[0]: Invalid value: "10.244.1.7/24": has host bits set: did you mean 10.244.1.0/24`},
		{"10.244.1.0/24", "0", "10.0.0.1", `metadata.annotations[waymark.io/asn]: Required value: an AS number, 1..4294967295`},
		{"10.244.1.0/24", "AS64513", "10.0.0.1", `metadata.annotations[waymark.io/asn]: Invalid value: "AS64513": is not an AS number`},
		{"10.244.1.0/24", "64513", "::1", `metadata.annotations[waymark.io/router-id]: Invalid value: "::1": is not a router ID, which has the form of an IPv4 address`},
	} {
		errs := ValidateNode([]string{tt.cidr}, map[string]string{AnnotationASN: tt.asn, AnnotationRouterID: tt.routerID})
		if tt.want == "" && len(errs) > 0 || tt.want != "" && (len(errs) != 1 || errs[0].Error() != tt.want) {
			t.Errorf("got %v, want %s", errs, tt.want)
		}
	}
}

// FuzzPrefix holds ParsePrefix to its promise: what it takes has one canonical text form.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "10.0.0.1/8", "10.0.0.1", "::/0", "fe80::1%eth0/64", "::ffff:1.2.3.4/120", "1.2.3.4/033", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrefix(s)
		if err == nil {
			if again, err := ParsePrefix(p.String()); err != nil || again != p || p.Masked() != p || p.Addr().Is4In6() {
				t.Errorf("%q became %v, which becomes %v, %v", s, p, again, err)
			}
		} else if p.IsValid() {
			t.Errorf("%q: a prefix and an error", s)
		}
	})
}
