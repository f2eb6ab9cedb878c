package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const asProgram = "WAYMARK_CONTROLLER_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
		return
	}
	nettest.Main(m)
}

// replica is a waymark-controller with short leases.
type replica struct {
	*nettest.Process
	metrics string
}

func start(t *testing.T, kube *nettest.Kube, port int) replica {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := replica{metrics: fmt.Sprintf("127.0.0.1:%d", port)}
	r.Process = nettest.Self.Start(t, "env", asProgram+"=1", self, "--kubeconfig", kube.Admin, "--metrics-address", r.metrics, "--health-address", "0",
		"--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "300ms")
	return r
}

// leads says whether the replica has the Lease.
func (r replica) leads() bool {
	response, err := http.Get("http://" + r.metrics + "/metrics")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body) // of a process that ends
	return strings.Contains(string(text), `leader_election_master_status{name="waymark-controller"} 1`)
}

func (r replica) awaitLead(t *testing.T) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		if !r.leads() {
			return fmt.Errorf("%s does not lead", r.metrics)
		}
		return nil
	})
}

// TestTakeover ends the leader, by SIGKILL and by SIGTERM, and wants the other replica to judge a new node within 5 s.
func TestTakeover(t *testing.T) {
	kube := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", "../../manifests/crds"},
		{"wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"},
		{"create", "namespace", "waymark-system"},
	} {
		if _, err := kube.Kubectl(args...); err != nil {
			t.Fatal(err)
		}
	}
	first := start(t, kube, 9471)
	first.awaitLead(t)
	second := start(t, kube, 9472)
	judged := func(node string) time.Duration {
		t.Helper()
		begin := time.Now()
		kube.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: "+node+"}\nspec: {podCIDRs: [10.244.1.0/24]}")
		nettest.Eventually(t, 20*time.Second, func() error {
			_, err := kube.Kubectl("get", "nrs", node)
			return err
		})
		return time.Since(begin)
	}
	judged("n1")
	if second.leads() {
		t.Fatal("two replicas lead")
	}
	for _, c := range []struct {
		how        string
		end        func()
		successor  replica
		comesAgain int
	}{
		{"SIGKILL", first.Kill, second, 9471},
		{"SIGTERM", func() { _ = second.Stop() }, replica{metrics: "127.0.0.1:9471"}, 9472},
	} {
		c.end()
		took := judged("after-" + strings.ToLower(c.how))
		t.Logf("after %s of the leader a new node is judged in %v", c.how, took.Round(time.Millisecond))
		if took > 5*time.Second {
			t.Errorf("after %s it took %v, want at most 5s", c.how, took)
		}
		c.successor.awaitLead(t)
		start(t, kube, c.comesAgain)
	}
}
