package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waymark-bgp/waymark/internal/controlplane"
)

const (
	control        = namespacePrefix + "control"
	controlAddress = "10.132.2.250"
	waymarkSystem  = "waymark-system"
	apiServer      = "kube-apiserver"
)

// cluster is a control plane without kubelets.
type cluster struct {
	plane controlplane.ControlPlane
	dir   string // of manifests and kubeconfigs
	door  string // address on this machine's loopback that leads to the API server
}

func newCluster() *cluster {
	return &cluster{
		plane: controlplane.ControlPlane{Dir: filepath.Join(runDir, "control"), Tools: "bin/kube", Address: controlAddress},
		dir:   filepath.Join(runDir, "cluster"),
		door:  "127.0.0.1:0",
	}
}

// use lets kubectl, of this process and its children, mean the cluster, and leave nothing in the home directory.
func (c *cluster) use() error {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	return errors.Join(
		os.Setenv("PATH", strings.Join([]string{filepath.Join(bin, "kube"), bin, os.Getenv("PATH")}, ":")),
		os.Setenv("KUBECONFIG", c.kubeconfig("admin")),
		os.Setenv("KUBECACHEDIR", c.file("cache")),
	)
}

func (c *cluster) kubeconfig(account string) string {
	return filepath.Join(c.dir, account+".kubeconfig")
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

// agentPod is the Pod whose token the agent has.
func (n node) agentPod() string { return "waymark-agent-" + n.name }

// startControlPlane starts it on the nodes' network, with a door for programs outside of the namespaces.
func (l *lab) startControlPlane(ctx context.Context) error {
	c := l.cluster
	if err := errors.Join(c.use(), os.MkdirAll(c.plane.Dir, 0o700), os.MkdirAll(c.dir, 0o700), c.plane.Prepare()); err != nil {
		return err
	}
	if err := script(ctx,
		"ip netns add "+control,
		"ip -n "+control+" link set lo up",
		"ip link add control netns "+gateway+" type veth peer name eth0 netns "+control,
		"ip -n "+gateway+" link set control master fabric up",
		"ip -n "+control+" addr add "+controlAddress+"/24 dev eth0",
		"ip -n "+control+" link set eth0 up",
	); err != nil {
		return err
	}
	return errors.Join(
		l.start(control, "etcd", c.plane.Etcd()...),
		l.startAPI(ctx),
		l.start(control, "kube-controller-manager", c.plane.ControllerManager(clusterCIDR)...),
	)
}

// startAPI starts the API server, again too, and waits until it is ready.
func (l *lab) startAPI(ctx context.Context) error {
	if err := errors.Join(l.start(control, apiServer, l.cluster.plane.APIServer()...), l.openDoor()); err != nil {
		return err
	}
	return eventually(ctx, 60*time.Second, func() error {
		status, err := capture(ctx, within(control, l.cluster.plane.Ready()...)...)
		if err == nil && status != fmt.Sprint(http.StatusOK) {
			err = fmt.Errorf("the API server answers %s", status)
		}
		return err
	})
}

// stopAPI takes the API server away as a crash does.
func (l *lab) stopAPI() {
	l.kill(apiServer, syscall.SIGKILL)
	l.kill("door", syscall.SIGKILL)
}

// openDoor makes a port that leads to the API server, and the administrator's kubeconfig for it.
func (l *lab) openDoor() error {
	listener, err := net.Listen("tcp4", l.cluster.door)
	if err != nil {
		return err
	}
	defer listener.Close()
	l.cluster.door = listener.Addr().String()
	door, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer door.Close()
	_, port, _ := net.SplitHostPort(l.cluster.door)
	return errors.Join(
		l.cluster.writeKubeconfig("admin", l.cluster.plane.AdminKubeconfig("https://localhost:"+port)),
		l.startWith([]*os.File{door}, control, "door", self(), "door", controlAddress+":"+controlplane.Port),
	)
}

// playDoor leads connections to an address in its namespace. File 3 is the listener, of another one.
func playDoor(ctx context.Context, address string) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("file 3 is not a listener: %w", err)
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		outer, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer outer.Close()
			inner, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer inner.Close()
			go func() {
				defer inner.Close()
				_, _ = io.Copy(inner, outer)
			}()
			_, _ = io.Copy(outer, inner)
		}()
	}
}

func (c *cluster) writeKubeconfig(account, text string) error {
	return os.WriteFile(c.kubeconfig(account), []byte(text), 0o600)
}

func kubectl(args ...string) []string { return append([]string{"kubectl"}, args...) }

// register makes the Nodes as kubelets do, and waits for the PodCIDRs.
func (c *cluster) register(ctx context.Context) error {
	var manifests []string
	for _, n := range nodes {
		manifests = append(manifests, fmt.Sprintf(`
apiVersion: v1
kind: Node
metadata:
  name: %[1]s
  annotations: {waymark.io/asn: "%[2]d"}
  labels: {kubernetes.io/hostname: %[1]s, kubernetes.io/os: linux}
status:
  addresses: [{type: InternalIP, address: %[3]s}, {type: Hostname, address: %[1]s}]
  conditions: [{type: Ready, status: "True", reason: KubeletReady, message: kubelet is posting ready status}]
`, n.name, n.asn, n.address))
	}
	if err := writeFiles(c.dir, map[string]string{"nodes.yaml": strings.Join(manifests, "---")}); err != nil {
		return err
	}
	if _, err := capture(ctx, kubectl("create", "-f", c.file("nodes.yaml"))...); err != nil {
		return err
	}
	for i, n := range nodes {
		if err := eventually(ctx, 20*time.Second, func() error {
			podCIDR, err := capture(ctx, kubectl("get", "node", n.name, "-o", "jsonpath={.spec.podCIDR}")...)
			if err == nil && podCIDR == "" {
				err = fmt.Errorf("%s has no PodCIDR", n.name)
			}
			nodes[i] = n.withPods(podCIDR)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// accounts writes what the kubelet would give to the pods of agents and controller: tokens of the shipped accounts, those of
// agents bound to a Pod on the node.
func (c *cluster) accounts(ctx context.Context) error {
	account := func(kubeconfig, account string, flags ...string) error {
		token, err := capture(ctx, append(kubectl("create", "token", account, "--namespace", waymarkSystem, "--duration=8760h"), flags...)...)
		if err != nil {
			return err
		}
		return c.writeKubeconfig(kubeconfig, c.plane.Kubeconfig(c.plane.URL(), token))
	}
	var pods []string
	for _, n := range nodes {
		pods = append(pods, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {app.kubernetes.io/name: waymark-agent}}
spec: {nodeName: %s, serviceAccountName: waymark-agent, hostNetwork: true, containers: [{name: agent, image: waymark}]}
`, n.agentPod(), waymarkSystem, n.name))
	}
	if err := writeFiles(c.dir, map[string]string{"pods.yaml": strings.Join(pods, "---")}); err != nil {
		return err
	}
	if _, err := capture(ctx, kubectl("create", "-f", c.file("pods.yaml"))...); err != nil {
		return err
	}
	errs := []error{account("waymark-controller", "waymark-controller")}
	for _, n := range nodes {
		errs = append(errs, account(n.agentPod(), "waymark-agent", "--bound-object-kind=Pod", "--bound-object-name="+n.agentPod()))
	}
	return errors.Join(errs...)
}
