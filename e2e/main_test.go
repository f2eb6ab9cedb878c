package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// roleGet fetches one URL and prints the body.
const roleGet = "get"

func playGet() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(os.Stdout, response.Body)
	os.Exit(0)
}

// The test binary plays the hosts too: it runs itself in a namespace with one of these words in the environment.
const roleVariable = "WAYMARK_E2E_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		nettest.Main(m)
	case roleStream:
		playStream()
	case roleRawPeer:
		playRawPeer()
	case roleGoBGP:
		playGoBGP()
	case roleGet:
		playGet()
	default:
		fmt.Fprintln(os.Stderr, "unknown role", role)
		os.Exit(1)
	}
}

// program is the path of a program that `make build` has made.
func program(t testing.TB, name string) string {
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
	words := roleCommand(t, role, args)
	return ns.Start(t, words[0], words[1:]...)
}

// playWith runs this test binary in a role to its end, with input, and returns what it prints.
func playWith(t testing.TB, ns nettest.NS, input, role string, args ...string) string {
	t.Helper()
	words := roleCommand(t, role, args)
	cmd := ns.Command(words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", role, err)
	}
	return string(out)
}

func roleCommand(t testing.TB, role string, args []string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"env", roleVariable + "=" + role, self}, args...)
}
