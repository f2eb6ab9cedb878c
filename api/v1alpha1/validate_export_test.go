package v1alpha1

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestStaticRouteExport(t *testing.T) {
	run(t, func() StaticRouteExport {
		return StaticRouteExport{ObjectMeta: named("core1"), Spec: StaticRouteExportSpec{
			Gateway: "core1", Format: "frr", VRF: "prod", NamePrefix: "k8s-", Preference: ptr[int64](50), Tag: ptr[int64](4200), BFD: true,
			Running: &RunningText{ConfigMap: "core1", Key: "running.cfg"}, Interval: seconds(60),
		}}
	}, func(e *StaticRouteExport) field.ErrorList { return e.Validate() }, []change[StaticRouteExport]{
		{"only a gateway", func(e *StaticRouteExport) { e.Spec = StaticRouteExportSpec{Gateway: "core1"} }, ""},
		{"no gateway", func(e *StaticRouteExport) { e.Spec.Gateway = "" }, "spec.gateway: Required value"},
		{"long name", func(e *StaticRouteExport) { e.Name = strings.Repeat("a", 201) }, `metadata.name: Too long: may not be more than 200 bytes`},
		{"unknown format", func(e *StaticRouteExport) { e.Spec.Format = "ios" }, `spec.format: Unsupported value: "ios": supported values: "cisco-ios", "cisco-iosxr", "cisco-nxos", "arista-eos", "huawei-vrp", "h3c-comware", "juniper-junos", "mikrotik", "vyos", "frr", "bird", "linux", "openbsd", "json", "csv"`},
		{"VRF of two words", func(e *StaticRouteExport) { e.Spec.VRF = "a b" }, `spec.vrf: Invalid value: "a b": must be at most 31 letters, digits and . _ -, letters and digits first`},
		{"prefix with a line end", func(e *StaticRouteExport) { e.Spec.NamePrefix = "a\n" }, `spec.namePrefix: Invalid value: "a\n": must be at most 63 letters, digits and . _ -, letters and digits first`},
		{"preference 0", func(e *StaticRouteExport) { e.Spec.Preference = ptr[int64](0) }, "spec.preference: Invalid value: 0: must be 1..4294967295"},
		{"large tag", func(e *StaticRouteExport) { e.Spec.Tag = ptr[int64](1 << 32) }, "spec.tag: Invalid value: 4294967296: must be 1..4294967295"},
		{"BFD and track", func(e *StaticRouteExport) { e.Spec.Track = ptr[int32](3) }, "spec.track: Forbidden: with bfd: routes depend on one of the two"},
		{"no name of a ConfigMap", func(e *StaticRouteExport) { e.Spec.Running.ConfigMap = "" }, "spec.running.configMap: Required value"},
		{"key with a slash", func(e *StaticRouteExport) { e.Spec.Running.Key = "a/b" }, `spec.running.key: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`},
		{"interval too short", func(e *StaticRouteExport) { e.Spec.Interval = seconds(59) }, `spec.interval: Invalid value: "59s": must be 60s..86400s`},
	})
}
