package nettest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Kube is a real control plane: etcd, kube-apiserver, kube-controller-manager. `make tools` builds the latter two.
type Kube struct {
	// Admin is a kubeconfig that may do everything.
	Admin string

	ns      NS
	dir     string
	address string
	flags   []string
	etcd    *Process
	api     *Process
}

// Ports of the control plane.
const (
	kubePort     = "6443"
	etcdPort     = "2379"
	etcdPeerPort = "2380"
)

const adminToken = "admin"

// StartKube starts etcd and the API server in ns, where address is an address that the API server is reached at, and waits
// until it is ready. Flags are more flags of the API server.
func StartKube(t testing.TB, ns NS, address string, flags ...string) *Kube {
	t.Helper()
	k := &Kube{ns: ns, dir: t.TempDir(), address: address, flags: flags}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, k.dir, "sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	writeFile(t, k.dir, "tokens.csv", adminToken+",admin,admin,system:masters\n")
	k.StartEtcd(t)
	k.StartAPI(t)
	k.Admin = k.Kubeconfig(t, adminToken)
	return k
}

// StartEtcd starts etcd, again too, with the data it had.
func (k *Kube) StartEtcd(t testing.TB) {
	t.Helper()
	client, peer := "http://127.0.0.1:"+etcdPort, "http://127.0.0.1:"+etcdPeerPort
	k.etcd = k.ns.Start(t, "etcd", "--data-dir", filepath.Join(k.dir, "etcd"), "--listen-client-urls", client,
		"--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "default="+peer, "--log-level", "error")
}

// KillEtcd ends etcd with SIGKILL.
func (k *Kube) KillEtcd() { k.etcd.Kill() }

// StartAPI starts the API server, again too, and waits until it is ready.
func (k *Kube) StartAPI(t testing.TB) {
	t.Helper()
	file := func(name string) string { return filepath.Join(k.dir, name) }
	k.api = k.ns.Start(t, KubeTool("kube-apiserver"), append([]string{
		"--etcd-servers", "http://127.0.0.1:" + etcdPort, "--secure-port", kubePort, "--bind-address", "0.0.0.0",
		"--advertise-address", k.address, "--cert-dir", k.dir, "--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", file("sa.key"),
		"--service-account-signing-key-file", file("sa.key"), "--token-auth-file", file("tokens.csv"),
		"--authorization-mode", "Node,RBAC", "--allow-privileged", "--shutdown-delay-duration", "0s", "-v", "0",
	}, k.flags...)...)
	Eventually(t, 60*time.Second, func() error {
		out, err := k.ns.Try("curl", "-sS", "--max-time", "2", "--cacert", file("apiserver.crt"), "-H", "Authorization: Bearer "+adminToken,
			"-w", "%{http_code}", "-o", "/dev/null", "https://"+k.address+":"+kubePort+"/readyz")
		if err == nil && out != fmt.Sprint(http.StatusOK) {
			err = fmt.Errorf("the API server answers %s", out)
		}
		return err
	})
}

// StopAPI ends the API server.
func (k *Kube) StopAPI() { _ = k.api.Stop() }

// StartControllerManager starts the controllers that clusters have for nodes: PodCIDRs out of clusterCIDR, a list of at most
// one prefix of each family, and the garbage collector.
func (k *Kube) StartControllerManager(t testing.TB, clusterCIDR string) *Process {
	t.Helper()
	return k.ns.Start(t, KubeTool("kube-controller-manager"), "--kubeconfig", k.Admin, "--leader-elect=false",
		"--allocate-node-cidrs", "--cluster-cidr", clusterCIDR, "--service-account-private-key-file", filepath.Join(k.dir, "sa.key"),
		"--cert-dir", k.dir, "--controllers",
		"node-ipam-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller", "-v", "0")
}

// Kubeconfig writes a kubeconfig with a bearer token and returns its path.
func (k *Kube) Kubeconfig(t testing.TB, token string) string {
	t.Helper()
	dir := t.TempDir()
	return writeFile(t, dir, "kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: test
  cluster: {server: "https://%s:%s", certificate-authority: %s}
users:
- name: test
  user: {token: %s}
contexts:
- name: test
  context: {cluster: test, user: test}
current-context: test
`, k.address, kubePort, filepath.Join(k.dir, "apiserver.crt"), token))
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

// KubectlAs runs kubectl with a kubeconfig and standard input.
func (k *Kube) KubectlAs(kubeconfig, input string, args ...string) (string, error) {
	cmd := k.ns.Command(KubeTool("kubectl"), append([]string{"--kubeconfig", kubeconfig, "--cache-dir", filepath.Join(k.dir, "kubectl")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, errors.String())
	}
	return out.String(), nil
}

// KubeTool is the path of a program that `make tools` builds: kubectl, kube-apiserver, kube-controller-manager.
func KubeTool(name string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "bin", "kube", name)
}
