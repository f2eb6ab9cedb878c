package manifests

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// kubelet starts pods as the manifests have them: user, capabilities, no new privileges, a root file system and /proc/sys
// that are read-only, nothing in /run but volumes. The image is this machine with the programs of `make build`.
type kubelet struct {
	node nettest.NS
	// host is where the node's hostPath volumes are, by their path.
	host string
	// values of the downward API by field path.
	fields map[string]string
	// replace has other words for arguments.
	replace map[string]string
	// account is a kubeconfig with the token that the pod gets, where it wants one.
	account string
}

// run starts a pod on the node: init containers to their end, then the container.
func (k kubelet) run(t testing.TB, pod corev1.PodSpec) *nettest.Process {
	t.Helper()
	if len(pod.Containers) != 1 || !pod.HostNetwork {
		t.Fatalf("want one container on the host's network: %v", pod)
	}
	for _, container := range pod.InitContainers {
		words := k.command(t, pod, container)
		k.node.Run(t, words[0], words[1:]...)
	}
	words := k.command(t, pod, pod.Containers[0])
	return k.node.Start(t, words[0], words[1:]...)
}

// inside begins in mount namespace of its own and replaces itself by the words that follow.
const inside = `set -eu
mount -t tmpfs tmpfs /run
while [ "$1" != -- ]; do if [ -d "$1" ]; then mkdir -p "$2"; else touch "$2"; fi; mount --bind "$1" "$2"; shift 2; done
shift
mount --bind /proc/sys /proc/sys
for ro in /proc/sys /run /; do mount -o remount,bind,ro "$ro"; done
exec "$@"
`

func (k kubelet) command(t testing.TB, pod corev1.PodSpec, c corev1.Container) []string {
	t.Helper()
	words := []string{"unshare", "--mount", "sh", "-c", inside, "sh"}
	for _, mount := range c.VolumeMounts {
		for _, volume := range pod.Volumes {
			if volume.Name != mount.Name {
				continue
			}
			at := filepath.Join(k.host, volume.HostPath.Path)
			if strings.HasPrefix(volume.HostPath.Path, "/proc/") {
				at = volume.HostPath.Path // the kernel's, that of the node's network
			} else if err := k.create(at, *volume.HostPath.Type); err != nil {
				t.Fatal(err)
			}
			words = append(words, at, mount.MountPath)
		}
	}
	var environment []string
	if k.account != "" && (pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken) {
		var dir string
		dir, environment = k.credentials(t)
		words = append(words, dir, "/run/secrets/kubernetes.io/serviceaccount")
	}
	s := c.SecurityContext
	if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil ||
		!*s.ReadOnlyRootFilesystem || s.Privileged != nil || s.Capabilities == nil || fmt.Sprint(s.Capabilities.Drop) != "[ALL]" {
		t.Fatalf("container %s has more than it may: %v", c.Name, s)
	}
	bounding := "-all"
	for _, capability := range s.Capabilities.Add {
		bounding += ",+" + strings.ToLower(string(capability))
	}
	user, group := pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup
	words = append(words, "--", "setpriv", "--reuid", fmt.Sprint(*user), "--regid", fmt.Sprint(*group), "--clear-groups",
		"--inh-caps", "-all", "--bounding-set", bounding, "--no-new-privs",
		"env", "-i", "PATH="+programs(t)+":/usr/sbin:/usr/bin:/sbin:/bin")
	words = append(words, environment...)
	var values []string
	for _, variable := range c.Env {
		value, ok := k.fields[variable.ValueFrom.FieldRef.FieldPath]
		if !ok {
			t.Fatalf("nobody has said what %s is", variable.ValueFrom.FieldRef.FieldPath)
		}
		values = append(values, "$("+variable.Name+")", value)
	}
	values = append(values, "\x00", "")
	words = append(words, c.Command...)
	for _, arg := range c.Args {
		if other, ok := k.replace[arg]; ok {
			arg = other
		}
		words = append(words, strings.NewReplacer(values...).Replace(arg))
	}
	return words
}

// create makes what a hostPath volume needs, as the kubelet does.
func (k kubelet) create(at string, kind corev1.HostPathType) error {
	if kind != corev1.HostPathFileOrCreate {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(at, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// credentials are what a pod of the cluster finds: a directory with its token, and where the API server is.
func (k kubelet) credentials(t testing.TB) (dir string, environment []string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(k.account)
	if err != nil {
		t.Fatal(err)
	}
	current := config.Contexts[config.CurrentContext]
	cluster := config.Clusters[current.Cluster]
	ca, err := os.ReadFile(cluster.CertificateAuthority)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, text := range map[string]string{"token": config.AuthInfos[current.AuthInfo].Token, "ca.crt": string(ca), "namespace": namespace} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server, err := url.Parse(cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	return dir, []string{"KUBERNETES_SERVICE_HOST=" + server.Hostname(), "KUBERNETES_SERVICE_PORT=" + server.Port()}
}

// programs is the directory that `make build` fills.
func programs(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
