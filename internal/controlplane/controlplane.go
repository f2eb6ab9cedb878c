// Package controlplane says how a real control plane - etcd, kube-apiserver, kube-controller-manager - is run for tests and
// the demo: all in one network namespace, the state in one directory, nothing else of a cluster.
package controlplane

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ControlPlane is one control plane.
type ControlPlane struct {
	Dir     string // of its own: state, keys
	Tools   string // directory that has the programs of `make tools`
	Address string // at which the API server is reached
}

// Port is the TCP port of the API server.
const Port = "6443"

const (
	etcdClients = "http://127.0.0.1:2379"
	etcdPeers   = "http://127.0.0.1:2380"
	adminToken  = "admin"
)

// Prepare writes the keys, and the kubeconfig Admin.
func (c ControlPlane) Prepare() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	for name, text := range map[string]string{
		"sa.key":     string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"tokens.csv": adminToken + ",admin,admin,system:masters\n",
		"admin":      c.Kubeconfig(c.URL(), adminToken),
	} {
		if err := os.WriteFile(c.file(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Admin is the path of a kubeconfig that may do everything.
func (c ControlPlane) Admin() string { return c.file("admin") }

// AdminKubeconfig is the text of one for another URL; the certificate is for localhost, too.
func (c ControlPlane) AdminKubeconfig(url string) string { return c.Kubeconfig(url, adminToken) }

// URL is where the API server is reached.
func (c ControlPlane) URL() string { return "https://" + c.Address + ":" + Port }

// Etcd is the command that starts etcd, again too, with the data it had.
func (c ControlPlane) Etcd() []string {
	return []string{"etcd", "--data-dir", c.file("etcd"), "--listen-client-urls", etcdClients,
		"--advertise-client-urls", etcdClients, "--listen-peer-urls", etcdPeers, "--initial-advertise-peer-urls", etcdPeers,
		"--initial-cluster", "default=" + etcdPeers, "--log-level", "error"}
}

// APIServer is the command that starts the API server, again too.
func (c ControlPlane) APIServer() []string {
	return []string{filepath.Join(c.Tools, "kube-apiserver"),
		"--etcd-servers", etcdClients, "--secure-port", Port, "--bind-address", "0.0.0.0",
		"--advertise-address", c.Address, "--cert-dir", c.Dir, "--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", c.file("sa.key"),
		"--service-account-signing-key-file", c.file("sa.key"), "--token-auth-file", c.file("tokens.csv"),
		"--authorization-mode", "Node,RBAC", "--allow-privileged", "--shutdown-delay-duration", "0s", "-v", "0"}
}

// Ready is the command that answers with HTTP status 200 when the API server is ready.
func (c ControlPlane) Ready() []string {
	return []string{"curl", "-sS", "--max-time", "2", "--cacert", c.file("apiserver.crt"), "-H", "Authorization: Bearer " + adminToken,
		"-w", "%{http_code}", "-o", "/dev/null", c.URL() + "/readyz"}
}

// ControllerManager is the command that starts the controllers that clusters have for nodes: PodCIDRs out of clusterCIDR, a
// list of at most one prefix of each family, and the garbage collector; and more by their names.
func (c ControlPlane) ControllerManager(clusterCIDR string, more ...string) []string {
	controllers := append([]string{"node-ipam-controller", "garbage-collector-controller", "namespace-controller", "serviceaccount-controller"}, more...)
	return []string{filepath.Join(c.Tools, "kube-controller-manager"), "--kubeconfig", c.Admin(), "--leader-elect=false",
		"--allocate-node-cidrs", "--cluster-cidr", clusterCIDR, "--service-account-private-key-file", c.file("sa.key"),
		"--cert-dir", c.Dir, "--controllers", strings.Join(controllers, ","), "-v", "0"}
}

// Kubeconfig is the text of a kubeconfig with a bearer token.
func (c ControlPlane) Kubeconfig(url, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: waymark
  cluster: {server: "%s", certificate-authority: %s}
users:
- name: waymark
  user: {token: %s}
contexts:
- name: waymark
  context: {cluster: waymark, user: waymark}
current-context: waymark
`, url, c.file("apiserver.crt"), token)
}

func (c ControlPlane) file(name string) string { return filepath.Join(c.Dir, name) }
