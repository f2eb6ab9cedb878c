package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestDockerfile goes through the Dockerfile as far as it goes without an engine: the build stage runs in a clone of the
// commit, what is copied out of it is there, and the packages of the last stage are those that the tests have.
func TestDockerfile(t *testing.T) {
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "src")
	nettest.Run(t, "git", "clone", "--quiet", "--depth", "1", "file://"+repository, clone)
	stage, copied, packages := "", false, false
	for _, line := range instructions(t, "../Dockerfile") {
		instruction, rest, _ := strings.Cut(line, " ")
		args := slices.DeleteFunc(strings.Fields(rest), func(arg string) bool { return strings.HasPrefix(arg, "--mount=") })
		switch instruction {
		case "FROM": // the first is the builder: Go, for its own platform
			_, stage, _ = strings.Cut(rest, " AS ")
			if stage == "" {
				wantSystem(t, args[0])
			}
		case "RUN":
			if stage == "build" { // GOFLAGS: Go's default, whatever this machine has
				nettest.Run(t, "sh", "-euc", "cd "+clone+"; export GOFLAGS=-buildvcs=auto; TARGETOS="+runtime.GOOS+" TARGETARCH="+runtime.GOARCH+"; "+strings.Join(args, " "))
				continue
			}
			_, install, _ := strings.Cut(rest, "--no-install-recommends ")
			install, _, _ = strings.Cut(install, " &&")
			for _, name := range strings.Fields(install) {
				nettest.Run(t, "dpkg", "--status", name)
				packages = true
			}
		case "COPY":
			if args[0] == "--from=build" {
				wantPrograms(t, filepath.Join(clone, strings.TrimPrefix(args[1], "/src")))
				copied = true
				continue
			}
			if _, err := os.Stat(filepath.Join(clone, args[0])); err != nil {
				t.Error(err)
			}
		}
	}
	if !copied || !packages {
		t.Error("nothing is copied out of the build stage, or no package installed")
	}
}

// wantSystem wants the image to be the Debian release that the tests run on.
func wantSystem(t testing.TB, image string) {
	t.Helper()
	system, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^VERSION_ID="?(\d+)`).FindSubmatch(system)
	if version == nil || image != "debian:"+string(version[1])+"-slim" {
		t.Errorf("the image is %s, the tests run on\n%s", image, system)
	}
}

// wantPrograms wants every program that a pod runs in the directory, and the plugin of kubectl, static and with a version.
func wantPrograms(t testing.TB, dir string) {
	t.Helper()
	base := kustomize(t, "base")
	programs := []string{"kubectl-waymark"}
	for _, name := range []string{"DaemonSet/waymark-system/waymark-agent", "DaemonSet/waymark-system/waymark-bfd", "Deployment/waymark-system/waymark-controller"} {
		if base[name].GetKind() == "DaemonSet" {
			programs = append(programs, as[appsv1.DaemonSet](t, base[name]).Spec.Template.Spec.Containers[0].Command[0])
		} else {
			programs = append(programs, as[appsv1.Deployment](t, base[name]).Spec.Template.Spec.Containers[0].Command[0])
		}
	}
	for _, program := range programs {
		path := filepath.Join(dir, program)
		if out, err := nettest.Self.Try(path, "--version"); err != nil || strings.Contains(out, "devel") || strings.Contains(out, "dirty") {
			t.Errorf("%s --version: %v %s", program, err, out)
		}
		if out, err := nettest.Self.Try("ldd", path); err == nil || !strings.Contains(out, "not a dynamic executable") {
			t.Errorf("%s is not static: %s", program, out)
		}
	}
}

// instructions of a Dockerfile, one a line.
func instructions(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
