package manifests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestInstallAndUninstall goes the way of docs/install.md with kubectl: install, again, definitions upgraded under the
// objects, uninstall.
func TestInstallAndUninstall(t *testing.T) {
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	k.StartControllerManager(t, "10.244.0.0/16")
	before := settled(t, k)

	install(t, k)
	versions := inventory(t, k, versionsOf)
	if len(versions) < len(before)+len(kustomize(t, "base")) {
		t.Fatalf("the inventory is not complete:\n%s", strings.Join(versions, "\n"))
	}
	install(t, k)
	if again := inventory(t, k, versionsOf); !slices.Equal(again, versions) {
		t.Errorf("the second time something was written:\n%s", difference(versions, again))
	}
	do := kubectl(t, k)
	do("apply", "--server-side", "-f", "example/bgp.yaml")
	objects := do("get", "waymark", "--output", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid}{"\n"}{end}`)
	if strings.Count(objects, "\n") != 4 {
		t.Fatalf("objects of the example:\n%s", objects)
	}

	// The next version of a definition has one more field.
	definition, err := os.ReadFile("crds/waymark.io_bgppeers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const field = "              allowOwnAS:\n"
	if !strings.Contains(string(definition), field) {
		t.Fatalf("no %q in the definition", field)
	}
	next := filepath.Join(t.TempDir(), "next.yaml")
	if err := os.WriteFile(next, []byte(strings.Replace(string(definition), field, "              fromTheFuture: {type: string}\n"+field, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	do("apply", "--server-side", "-f", next)
	nettest.Eventually(t, 30*time.Second, func() error {
		_, err := k.Kubectl("patch", "bgppeer", "rr1", "--type", "merge", "-p", `{"spec":{"fromTheFuture":"yes"}}`)
		if err != nil {
			return err
		}
		if out, err := k.Kubectl("get", "bgppeer", "rr1", "-o", "jsonpath={.spec.fromTheFuture}"); err != nil || out != "yes" {
			return fmt.Errorf("the new field is %q: %v", out, err)
		}
		return nil
	})
	if now := do("get", "waymark", "--output", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid}{"\n"}{end}`); now != objects {
		t.Errorf("objects after the upgrade:\n%s\nbefore:\n%s", now, objects)
	}

	do("delete", "noderoles", "--all")
	do("delete", "daemonset", "waymark-agent", "waymark-bfd", "--namespace", namespace)
	do("apply", "--server-side", "-k", "cleanup")
	do("delete", "-k", "example", "--ignore-not-found", "--timeout", "120s")
	left(t, k, before)
}

// TestHelm installs, upgrades and uninstalls the chart. The objects outlive it.
func TestHelm(t *testing.T) {
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	k.StartControllerManager(t, "10.244.0.0/16")
	before := settled(t, k)
	home, chart := t.TempDir(), filepath.Join(t.TempDir(), "waymark")
	nettest.Run(t, "cp", "--recursive", "--dereference", "helm/waymark", chart)
	// An API server that was built without its version is too old for the chart.
	nettest.Run(t, "sed", "--in-place", "/^kubeVersion:/d", filepath.Join(chart, "Chart.yaml"))
	helm := func(args ...string) {
		t.Helper()
		cmd := exec.Command(nettest.KubeTool("helm"), append([]string{"--kubeconfig", k.Admin, "--namespace", namespace}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	do := kubectl(t, k)
	do("apply", "--server-side", "-f", "base/namespace.yaml")
	helm("install", "waymark", chart)
	do("wait", "--for=condition=Established", "--timeout=30s", "crd", "-l", "app.kubernetes.io/part-of=waymark")
	do("apply", "--server-side", "-f", "example/bgp.yaml")

	nettest.Run(t, "sed", "--in-place", `s/^              allowOwnAS:$/              fromTheFuture: {type: string}\n&/`,
		filepath.Join(chart, "definitions/waymark.io_bgppeers.yaml"))
	helm("upgrade", "waymark", chart, "--set", "image.tag=v9")
	if out := do("get", "daemonset", "waymark-agent", "--namespace", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].image}"); !strings.HasSuffix(out, ":v9") {
		t.Errorf("image after the upgrade: %s", out)
	}
	if out := do("get", "crd", "bgppeers.waymark.io", "-o", "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.fromTheFuture.type}"); out != "string" {
		t.Errorf("the definition has not been upgraded: %q", out)
	}

	helm("uninstall", "waymark")
	if out := do("get", "waymark", "--output", "name"); strings.Count(out, "\n") != 4 {
		t.Errorf("objects after helm uninstall:\n%s", out)
	}
	do("delete", "crd", "-l", "app.kubernetes.io/part-of=waymark")
	do("delete", "-f", "base/namespace.yaml", "--timeout", "120s")
	left(t, k, before)
}

// kubectl runs kubectl as admin; a failure ends the test.
func kubectl(t testing.TB, k *nettest.Kube) func(args ...string) string {
	return func(args ...string) string {
		t.Helper()
		out, err := k.Kubectl(args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
}

// What is listed of each object.
const (
	namesOf    = `{.kind} {.metadata.namespace}/{.metadata.name}`
	versionsOf = namesOf + ` {.metadata.uid} {.metadata.resourceVersion}`
)

// inventory lists all objects that the API server has, but for events and leases, which are renewed.
func inventory(t testing.TB, k *nettest.Kube, what string) []string {
	t.Helper()
	do := kubectl(t, k)
	kinds := slices.DeleteFunc(strings.Fields(do("api-resources", "--verbs=list,get", "--cached=false", "--output=name")), func(kind string) bool {
		return strings.HasPrefix(kind, "events") || strings.HasPrefix(kind, "leases.") || kind == "componentstatuses"
	})
	out := do("get", strings.Join(kinds, ","), "--all-namespaces", "--ignore-not-found",
		"--output", `jsonpath={range .items[*]}`+what+`{"\n"}{end}`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return lines
}

// settled is the inventory of a control plane that has made what it makes by itself.
func settled(t testing.TB, k *nettest.Kube) []string {
	t.Helper()
	last := inventory(t, k, namesOf)
	nettest.Eventually(t, 60*time.Second, func() error {
		time.Sleep(time.Second)
		now := inventory(t, k, namesOf)
		defer func() { last = now }()
		if !slices.Contains(now, "ServiceAccount default/default") || !slices.Equal(now, last) {
			return fmt.Errorf("it still makes objects: %s", difference(last, now))
		}
		return nil
	})
	return last
}

// left compares all objects with those that were there before the install.
func left(t testing.TB, k *nettest.Kube, before []string) {
	t.Helper()
	nettest.Eventually(t, 30*time.Second, func() error {
		if after := inventory(t, k, namesOf); !slices.Equal(after, before) {
			return fmt.Errorf("not as before the install:\n%s", difference(before, after))
		}
		return nil
	})
}

// difference has a minus before what only a has, and a plus before what only b has.
func difference(a, b []string) string {
	var lines []string
	for _, line := range a {
		if !slices.Contains(b, line) {
			lines = append(lines, "- "+line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			lines = append(lines, "+ "+line)
		}
	}
	return strings.Join(lines, "\n")
}
