package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
	"github.com/waymark-bgp/waymark/registry"
)

// shopCluster is what kubectl would have written: of node-1 that all is well, of node-2 that it announces nothing.
const shopCluster = `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDRs: [10.244.1.0/24]}, status: {addresses: [{type: InternalIP, address: 10.132.2.1}], conditions: [{type: Ready, status: "True"}]}}
- {apiVersion: v1, kind: Node, metadata: {name: node-2}, spec: {podCIDRs: [10.244.2.0/24]}, status: {addresses: [{type: InternalIP, address: 10.132.2.2}], conditions: [{type: Ready, status: "True"}]}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: a}, spec: {nodeName: node-1}, status: {phase: Running, podIPs: [{ip: 10.244.1.7}]}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: b}, spec: {nodeName: node-2}, status: {phase: Running, podIPs: [{ip: 10.244.2.7}]}}
- {apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: done}, spec: {nodeName: node-1}, status: {phase: Succeeded, podIPs: [{ip: 10.244.1.9}]}}
- {apiVersion: v1, kind: Service, metadata: {namespace: shop, name: greeter}, spec: {clusterIPs: [10.96.0.10]}}
- {apiVersion: waymark.io/v1alpha1, kind: DatacenterNetwork, metadata: {name: default}, spec: {cidrs: [10.132.0.0/16], clusterCIDRs: [10.244.0.0/16, 10.96.0.0/16]}}
- apiVersion: waymark.io/v1alpha1
  kind: NodeRoutingState
  metadata: {name: node-1}
  status: {announced: [10.244.1.0/24], wanted: 1, established: 1, learnedCount: 3, announcedCount: 1, gate: {open: true}, reported: "2026-01-01T00:00:00Z", sessions: [{peer: rr1, state: Established}]}
- apiVersion: waymark.io/v1alpha1
  kind: NodeRoutingState
  metadata: {name: node-2}
  status: {wanted: 1, established: 1, learnedCount: 3, announcedCount: 0, gate: {open: false, reason: Overlap, message: "rr1 has a route to it"}, reported: "2026-01-01T00:00:00Z", sessions: [{peer: rr1, state: Established}]}
`

// answerDubbo listens as a provider does: it answers heartbeats.
func answerDubbo(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				frame := make([]byte, 17)
				if _, err := io.ReadFull(conn, frame); err != nil || frame[0] != 0xda || frame[1] != 0xbb {
					return
				}
				frame[2], frame[3] = 0x22, 20
				_, _ = conn.Write(frame)
			}()
		}
	}()
}

// register writes providers as Dubbo 2 does; the session ends with the test, and they with it.
func register(t *testing.T, providers ...string) *zk.Conn {
	t.Helper()
	c, _, err := zk.Connect([]string{"127.0.0.1:2181"}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, node := range []string{"/dubbo", "/dubbo/com.x.Greeter", "/dubbo/com.x.Greeter/providers"} {
		if _, err := c.Create(node, nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			t.Fatal(err)
		}
	}
	for _, p := range providers {
		if _, err := c.Create("/dubbo/com.x.Greeter/providers/"+url.QueryEscape(p), nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestCheckDubbo(t *testing.T) {
	zookeepertest.Start(t, nettest.Self, "127.0.0.1", "")
	for _, address := range []string{"10.244.1.7/32", "10.132.2.1/32"} {
		nettest.Run(t, "ip", "addr", "add", address, "dev", "lo")
		t.Cleanup(func() { nettest.Run(t, "ip", "addr", "del", address, "dev", "lo") })
	}
	nettest.Run(t, "ip", "route", "add", "blackhole", "10.244.2.0/24")
	t.Cleanup(func() { nettest.Run(t, "ip", "route", "del", "blackhole", "10.244.2.0/24") })
	answerDubbo(t, "10.244.1.7:20880")
	dir := t.TempDir()
	objects := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(objects, []byte(shopCluster), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(args ...string) (string, error) {
		return run(t, "", append([]string{"check", "dubbo", "--registry", "zookeeper://127.0.0.1:2181", "--from", objects, "--timeout", "500ms"}, args...)...)
	}
	if text, err := check(); err == nil || errors.Is(err, errFound) {
		t.Errorf("a registry where nothing is: %v\n%s", err, text)
	}

	entry := func(address string) string {
		return "dubbo://" + address + "/com.x.Greeter?application=shop&interface=com.x.Greeter"
	}
	register(t, entry("10.244.1.7:20880"))
	text, err := check("--all")
	t.Logf("%s", text)
	if err != nil || !strings.Contains(text, "1 providers at 1 addresses, 0 findings") || !strings.Contains(text, "10.244.1.7:20880  Pod shop/a on node-1  com.x.Greeter  dubbo       rr1") {
		t.Errorf("all is well: %v\n%s", err, text)
	}

	register(t, entry("10.244.1.7:20881"), entry("10.244.1.9:20880"), entry("10.244.2.7:20880"), entry("172.17.0.2:20880"), entry("127.0.0.1:20880"),
		entry("10.132.2.1:20880"), "dubbo://10.244.1.7/broken", "tri://10.244.1.7:20880/com.x.Greeter?application=shop")
	text, err = check()
	t.Logf("%s", text)
	for _, want := range []string{
		"8 providers at 7 addresses, 8 findings",
		"nobody listens on port 20881", "no pod has 10.244.1.9", "node-2 does not announce 10.244.2.0/24: Overlap: rr1 has a route to it", "as docker0 uses it",
		"127.0.0.1 is a loopback address", "10.132.2.1, which is the address of node node-1", "broken", "has no port", "10.244.1.7:20880 is to be tri",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not told", want)
		}
	}
	if !errors.Is(err, errFound) {
		t.Errorf("%v", err)
	}

	if text, err = check("--registry", "zookeeper://127.0.0.1:2181"); !errors.Is(err, errFound) || !strings.Contains(text, "8 providers at 7 addresses") {
		t.Errorf("one registry twice: %v\n%s", err, text)
	}

	text, err = check("-o", "json")
	var report struct {
		Findings  int
		Endpoints []registry.Endpoint
	}
	if !errors.Is(err, errFound) || json.Unmarshal([]byte(text), &report) != nil || report.Findings != 8 || len(report.Endpoints) != 7 {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = check("-o", "junit")
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
	}
	if !errors.Is(err, errFound) || xml.Unmarshal([]byte(text), &suite) != nil || suite.Tests != 8 || suite.Failures != 8 {
		t.Errorf("%v: %+v\n%s", err, suite, text)
	}

	text, err = run(t, "", "check", "dubbo", "--registry", "zookeeper://127.0.0.1:2181", "--offline", "--timeout", "500ms")
	if !errors.Is(err, errFound) || !strings.Contains(text, "Note: no cluster was asked") || strings.Contains(text, "node-2") {
		t.Errorf("offline: %v\n%s", err, text)
	}
	text, err = check("--registry", "zookeeper://127.0.0.1:2199")
	if err == nil || errors.Is(err, errFound) || !strings.Contains(err.Error(), "127.0.0.1:2199") || !strings.Contains(text, "8 providers at 7 addresses") {
		t.Errorf("one of two registries: %v\n%s", err, text)
	}
}

func TestCheckDubboRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad, user := file("bad", "verysecret"), file("user", "dubbo:verysecret\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "registry"},
		{[]string{"--registry", "etcd://127.0.0.1"}, `not "etcd"`},
		{[]string{"--registry", "dubbo:verysecret@127.0.0.1"}, "want zookeeper://HOST:PORT"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "-o", "xml"}, "want text, json or junit"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--registry-timeout", "0s"}, "--registry-timeout"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--reading-timeout", "0s"}, "--reading-timeout"},
		{[]string{"--registry", "zookeeper://dubbo:verysecret@127.0.0.1"}, "write them into a file"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--auth-file", bad}, "want one line, USER:PASSWORD"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--auth-file", "/none"}, "no such file"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--auth-file", user, "--tls-ca", user}, "no certificate"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--tls-cert", user}, "--tls-key"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--dials", "0"}, "--dials"},
		{[]string{"--registry", "zookeeper://127.0.0.1", "--timeout", "0s"}, "--timeout"},
	} {
		text, err := run(t, "", append([]string{"check", "dubbo", "--offline"}, tt.args...)...)
		if err == nil || errors.Is(err, errFound) || !strings.Contains(err.Error(), tt.want) || strings.Contains(fmt.Sprint(err, text), "verysecret") {
			t.Errorf("%v: %v\n%s", tt.args, err, text)
		}
	}
}

// TestSurveyIsOfOthers: a name that stands for this host is not tried by who answers here.
func TestSurveyIsOfOthers(t *testing.T) {
	answerDubbo(t, "127.0.0.1:20899")
	survey, done := (&surveyOptions{dials: 1, timeout: time.Second}).survey()
	defer done()
	target := registry.Target{Host: "localhost", Port: 20899, Protocol: "dubbo"}
	if a := survey.Run(t.Context(), []registry.Target{target})[target]; a.Reach != registry.Failed || !strings.Contains(a.Detail, "this host itself") {
		t.Errorf("%+v", a)
	}
}

// TestProgress: on a terminal only, and it leaves the line empty.
func TestProgress(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []*os.File{terminal, file} {
		p := newProgress(out)
		p.show("%d of %d", 1, 2)
		p.show("too soon")
		p.end()
		out.Close()
	}
	seen := make([]byte, 100)
	n, _ := master.Read(seen)
	if got, want := string(seen[:n]), "\r\x1b[K1 of 2\r\x1b[K"; got != want {
		t.Errorf("on a terminal: %q, want %q", got, want)
	}
	if text, err := os.ReadFile(file.Name()); err != nil || len(text) > 0 {
		t.Errorf("in a file: %q, %v", text, err)
	}
}
