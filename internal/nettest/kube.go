package nettest

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/controlplane"
)

// Kube is a real control plane: etcd, kube-apiserver, kube-controller-manager. `make tools` builds the latter two.
type Kube struct {
	// Admin is a kubeconfig that may do everything.
	Admin string

	ns    NS
	plane controlplane.ControlPlane
	flags []string
	etcd  *Process
	api   *Process
}

// StartKube starts etcd and the API server in ns, where address is an address that the API server is reached at, and waits
// until it is ready. Flags are more flags of the API server.
func StartKube(t testing.TB, ns NS, address string, flags ...string) *Kube {
	t.Helper()
	plane := controlplane.ControlPlane{Dir: t.TempDir(), Tools: filepath.Dir(KubeTool("kubectl")), Address: address}
	if err := plane.Prepare(); err != nil {
		t.Fatal(err)
	}
	k := &Kube{Admin: plane.Admin(), ns: ns, plane: plane, flags: flags}
	k.StartEtcd(t)
	k.StartAPI(t)
	return k
}

// StartEtcd starts etcd, again too, with the data it had.
func (k *Kube) StartEtcd(t testing.TB) {
	t.Helper()
	k.etcd = k.run(t, k.plane.Etcd())
}

func (k *Kube) run(t testing.TB, command []string) *Process {
	t.Helper()
	return k.ns.Start(t, command[0], command[1:]...)
}

// KillEtcd ends etcd with SIGKILL.
func (k *Kube) KillEtcd() { k.etcd.Kill() }

// StartAPI starts the API server, again too, and waits until it is ready.
func (k *Kube) StartAPI(t testing.TB) {
	t.Helper()
	k.api = k.run(t, append(k.plane.APIServer(), k.flags...))
	ready := k.plane.Ready()
	Eventually(t, 60*time.Second, func() error {
		out, err := k.ns.Try(ready[0], ready[1:]...)
		if err == nil && out != fmt.Sprint(http.StatusOK) {
			err = fmt.Errorf("the API server answers %s", out)
		}
		return err
	})
}

// StopAPI ends the API server.
func (k *Kube) StopAPI() { _ = k.api.Stop() }

// StartControllerManager starts the controllers that clusters have for nodes: PodCIDRs out of clusterCIDR, a list of at most
// one prefix of each family, and the garbage collector; and more by their names.
func (k *Kube) StartControllerManager(t testing.TB, clusterCIDR string, more ...string) *Process {
	t.Helper()
	return k.run(t, k.plane.ControllerManager(clusterCIDR, more...))
}

// Kubeconfig writes a kubeconfig with a bearer token and returns its path.
func (k *Kube) Kubeconfig(t testing.TB, token string) string {
	t.Helper()
	return writeFile(t, t.TempDir(), "kubeconfig", k.plane.Kubeconfig(k.plane.URL(), token))
}

// Kubectl runs kubectl as admin and returns its output.
func (k *Kube) Kubectl(args ...string) (string, error) { return k.KubectlAs(k.Admin, "", args...) }

// Apply applies manifests as admin. A failure ends the test.
func (k *Kube) Apply(t testing.TB, manifests string) {
	t.Helper()
	if out, err := k.KubectlAs(k.Admin, manifests, "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// DefineKinds makes the API server know the kinds of Waymark.
func (k *Kube) DefineKinds(t testing.TB) {
	t.Helper()
	if _, err := k.Kubectl("apply", "--server-side", "-f", filepath.Join(root(), "manifests", "crds")); err != nil {
		t.Fatal(err)
	}
	Eventually(t, 30*time.Second, func() error {
		_, err := k.Kubectl("wait", "--for=condition=Established", "--timeout=1s", "crd", "--all")
		return err
	})
}

// KubectlAs runs kubectl with a kubeconfig and standard input.
func (k *Kube) KubectlAs(kubeconfig, input string, args ...string) (string, error) {
	cmd := k.ns.Command(KubeTool("kubectl"), append([]string{"--kubeconfig", kubeconfig, "--cache-dir", filepath.Join(k.plane.Dir, "kubectl")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, errors.String())
	}
	return out.String(), nil
}

// KubeTool is the path of a program that `make tools` builds: kubectl, kube-apiserver, kube-controller-manager.
func KubeTool(name string) string { return filepath.Join(root(), "bin", "kube", name) }

// root is the directory of the module.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..")
}
