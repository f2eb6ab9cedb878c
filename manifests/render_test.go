package manifests

import (
	"errors"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const namespace = "waymark-system"

// TestHelmRendersTheSame renders both and lets them differ in two ways only: Helm wants the Namespace before the release,
// and leaves definitions, and so the objects, when the release goes.
func TestHelmRendersTheSame(t *testing.T) {
	base, chart := kustomize(t, "base"), helm(t)
	delete(base, "Namespace/"+namespace)
	if have, want := slices.Sorted(maps.Keys(chart)), slices.Sorted(maps.Keys(base)); !slices.Equal(have, want) {
		t.Fatalf("the chart has\n%s\nthe base\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	for name, object := range chart {
		if object.GetKind() == "CustomResourceDefinition" {
			annotations := object.GetAnnotations()
			if annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("helm uninstall would delete %s", name)
			}
			delete(annotations, "helm.sh/resource-policy")
			object.SetAnnotations(annotations)
		}
		if !reflect.DeepEqual(object, base[name]) {
			t.Errorf("%s differs:\nchart %v\nbase  %v", name, object, base[name])
		}
	}
}

// TestEveryDefinitionIsInstalled finds a generated definition that nobody has added to the list.
func TestEveryDefinitionIsInstalled(t *testing.T) {
	files, err := filepath.Glob("crds/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	definitions := 0
	for name := range kustomize(t, "crds") {
		if strings.HasPrefix(name, "CustomResourceDefinition/") {
			definitions++
		}
	}
	if len(files) == 0 || definitions != len(files) {
		t.Errorf("crds/Kustomization lists %d definitions of %d", definitions, len(files))
	}
}

// TestHelmValues renders what a values file may ask for.
func TestHelmValues(t *testing.T) {
	objects := helm(t, "--set", "image.repository=registry.example.com/waymark,image.tag=v9,imagePullSecrets[0].name=registry",
		"--set", "bgp.passwordSecrets[0].name=rr1,bgp.passwordSecrets[1].name=rr2,bgp.passwordSecrets[2].name=tor,bgp.passwordSecrets[2].namespace=network",
		"--set", "registries.secrets[0].name=zk,registries.secrets[0].namespace=shop,agent.enterPods=true",
		"--set", "bfd.enabled=false,crds.install=false,controller.replicas=3,agent.extraArgs[0]=--gobgp-writable",
		"--set", "metrics.expose=true,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus")
	field := func(name string, path ...string) any {
		if objects[name] == nil {
			t.Fatalf("no %s among %v", name, slices.Sorted(maps.Keys(objects)))
		}
		value := any(objects[name].Object)
		for _, key := range path {
			if list, ok := value.([]any); ok {
				value = list[0]
			}
			value = value.(map[string]any)[key]
		}
		return value
	}
	for _, c := range []struct {
		have, want any
	}{
		{field("DaemonSet/waymark-system/waymark-agent", "spec", "template", "spec", "containers", "image"), "registry.example.com/waymark:v9"},
		{field("DaemonSet/waymark-system/waymark-agent", "spec", "template", "spec", "imagePullSecrets"), []any{map[string]any{"name": "registry"}}},
		{field("DaemonSet/waymark-system/waymark-agent", "spec", "template", "spec", "containers", "args"), []any{
			"--node=$(NODE_NAME)", "--source=kube", "--metrics-address=[$(HOST_IP)]:9470", "--log-format=json", "--nat-backend=auto", "--sysctl-dir=/run/sysctl-net", "--gobgp-writable"}},
		{field("DaemonSet/waymark-system/waymark-agent", "spec", "template", "spec", "containers", "readinessProbe", "httpGet"),
			map[string]any{"port": int64(9470), "path": "/readyz"}},
		{field("Deployment/waymark-system/waymark-controller", "spec", "replicas"), int64(3)},
		{field("Role/waymark-system/waymark-agent-passwords", "rules", "resourceNames"), []any{"rr1", "rr2"}},
		{field("Role/network/waymark-agent-passwords", "rules", "resourceNames"), []any{"tor"}},
		{field("RoleBinding/network/waymark-agent-passwords", "subjects", "namespace"), namespace},
		{field("Role/shop/waymark-controller-registries", "rules", "resourceNames"), []any{"zk"}},
		{field("RoleBinding/shop/waymark-controller-registries", "subjects", "namespace"), namespace},
		{field("DaemonSet/waymark-system/waymark-agent", "spec", "template", "spec", "containers", "securityContext", "capabilities", "add"),
			[]any{"NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SYS_ADMIN"}},
		{field("DaemonSet/waymark-system/waymark-agent", "spec", "template", "spec", "volumes", "hostPath", "path"), "/run/netns"},
		{field("ServiceMonitor/waymark-system/waymark", "metadata", "labels", "release"), "prometheus"},
		{field("Service/waymark-system/waymark-agent", "spec", "ports", "port"), int64(9470)},
	} {
		if !reflect.DeepEqual(c.have, c.want) {
			t.Errorf("got %v, want %v", c.have, c.want)
		}
	}
	for name := range objects {
		if strings.HasPrefix(name, "CustomResourceDefinition/") || strings.Contains(name, "waymark-bfd") {
			t.Errorf("%s was not wanted", name)
		}
	}
}

// kustomize renders a directory; helm renders the chart. The objects are by kind, namespace and name.
func kustomize(t testing.TB, dir string) map[string]*unstructured.Unstructured {
	t.Helper()
	return render(t, exec.Command(nettest.KubeTool("kubectl"), "kustomize", dir))
}

func helm(t testing.TB, args ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	return render(t, exec.Command(nettest.KubeTool("helm"), append([]string{
		"template", "waymark", "helm/waymark", "--namespace", namespace, "--kube-version", "1.36.0"}, args...)...))
}

func render(t testing.TB, cmd *exec.Cmd) map[string]*unstructured.Unstructured {
	t.Helper()
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &complaint)
	}
	objects := map[string]*unstructured.Unstructured{}
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(out)), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		if object.Object == nil {
			continue // a file of which the values leave nothing
		}
		name := strings.Join(slices.DeleteFunc([]string{object.GetKind(), object.GetNamespace(), object.GetName()},
			func(s string) bool { return s == "" }), "/")
		if objects[name] != nil {
			t.Fatalf("%v: %s is there twice", cmd.Args, name)
		}
		objects[name] = object
	}
}

// as reads an object into its type.
func as[T any](t testing.TB, object *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true); err != nil {
		t.Fatal(err)
	}
	return typed
}
