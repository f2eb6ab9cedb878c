package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The test binary plays the hosts too: it runs itself in a namespace with one of these words in the environment.
const roleVariable = "WAYMARK_E2E_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		nettest.Main(m)
	case roleStream:
		playStream()
	default:
		fmt.Fprintln(os.Stderr, "unknown role", role)
		os.Exit(1)
	}
}

// binary is the path of a program that `make build` has made.
func binary(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return path
}

// play starts this test binary in a role in a namespace.
func play(t testing.TB, ns nettest.NS, role string, args ...string) *nettest.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	return ns.Start(t, env, append([]string{roleVariable + "=" + role, self}, args...)...)
}
