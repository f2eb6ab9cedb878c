package agent

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
)

func TestStaticRanges(t *testing.T) {
	node := func(cidrs ...string) corev1.Node { return corev1.Node{Spec: corev1.NodeSpec{PodCIDRs: cidrs}} }
	// The gateway reaches the first two nodes.
	nodes := []corev1.Node{node("10.131.8.0/24"), node("10.131.9.0/24", "fd00:131:0:9::/64"), node("10.131.128.0/17"), node("10.140.0.0/24")}
	want := []export.Route{}
	for _, p := range []string{"10.131.8.0/24", "10.131.9.0/24", "fd00:131:0:9::/64"} {
		want = append(want, export.Route{Prefix: netip.MustParsePrefix(p), NextHop: netip.MustParseAddr("10.132.2.21"), Name: p})
	}
	network := func(clusterCIDRs ...string) []v1alpha1.DatacenterNetwork {
		d := v1alpha1.DatacenterNetwork{Spec: v1alpha1.DatacenterNetworkSpec{CIDRs: []string{"10.132.0.0/16"}, ClusterCIDRs: clusterCIDRs}}
		d.Name = v1alpha1.DefaultName
		return []v1alpha1.DatacenterNetwork{d}
	}
	pool := v1alpha1.AddressPool{Spec: v1alpha1.AddressPoolSpec{CIDRs: []string{"10.131.64.0/18"}}}
	for name, tt := range map[string]struct {
		given    []netip.Prefix
		networks []v1alpha1.DatacenterNetwork
		pools    []v1alpha1.AddressPool
		want     string
	}{
		"nothing said":                       {nil, network(), nil, "[10.131.8.0/23 fd00:131:0:9::/64]"},
		"no network":                         {nil, nil, nil, "[10.131.8.0/23 fd00:131:0:9::/64]"},
		"ranges, Services have none of them": {nil, network("10.131.0.0/16", "10.96.0.0/12"), nil, "[10.131.0.0/17]"},
		"but pools":                          {nil, network("10.131.0.0/16"), []v1alpha1.AddressPool{pool}, "[10.131.0.0/18]"},
		"given":                              {[]netip.Prefix{netip.MustParsePrefix("10.132.0.0/15"), netip.MustParsePrefix("10.131.0.0/16")}, network("10.96.0.0/12"), nil, "[10.133.0.0/16 10.131.0.0/17]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(StaticRanges(tt.given, nodes, tt.networks, tt.pools, want)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
