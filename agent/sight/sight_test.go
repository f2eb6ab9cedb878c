package sight

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const server = "192.0.2.2:2181"

// TestSight looks from a pod on a node that masquerades, and then does not any more.
func TestSight(t *testing.T) {
	host, pod := nettest.New(t, "registry"), nettest.New(t, "pod")
	nettest.Join(t, nettest.Self, "uplink", []string{"192.0.2.1/30"}, host, "eth0", []string{"192.0.2.2/30"})
	nettest.Join(t, nettest.Self, "pod", []string{"10.244.1.1/24"}, pod, "eth0", []string{"10.244.1.7/24"})
	host.IP(t, "route add 10.244.1.0/24 via 192.0.2.1")
	pod.IP(t, "route add default via 10.244.1.1")
	nettest.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	nettest.Run(t, "nft", "add table ip sight; add chain ip sight post { type nat hook postrouting priority 100; }; add rule ip sight post oifname uplink masquerade")
	zookeepertest.Start(t, host, "192.0.2.2", "4lw.commands.whitelist=*")

	asked := []v1alpha1.SightRequest{request("shop/cart-0", "10.244.1.7"), request("shop/gone", "10.244.1.8"), request("shop/odd", "fish")}
	o := &Observer{Requests: func() []v1alpha1.SightRequest { return asked }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- o.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	sees := func(seen string) {
		t.Helper()
		nettest.Eventually(t, 20*time.Second, func() error {
			reports := o.Reports()
			if len(reports) != 3 {
				return fmt.Errorf("%d reports", len(reports))
			}
			if r := reports[0]; r.Check != "shop" || r.Pod != "shop/cart-0" || r.Server != server || r.Address != "10.244.1.7" || r.Seen != seen || r.Error != "" {
				return fmt.Errorf("%+v, want it seen as %s", r, seen)
			}
			for i, want := range []string{"no network namespace on this host has the address 10.244.1.8", "the pod has no address"} {
				if r := reports[i+1]; r.Seen != "" || !strings.Contains(r.Error, want) || r.Time.IsZero() {
					return fmt.Errorf("%+v, want the error %q", r, want)
				}
			}
			return nil
		})
	}
	sees("192.0.2.1")
	nettest.Run(t, "nft", "delete table ip sight")
	sees("10.244.1.7") // with the next attempt, by a new connection
}

func request(pod, address string) v1alpha1.SightRequest {
	return v1alpha1.SightRequest{
		Check: "shop", Pod: pod, Addresses: []string{address}, Servers: []string{server},
		Timeout: metav1.Duration{Duration: 2 * time.Second}, Interval: metav1.Duration{Duration: 2 * time.Second},
	}
}
