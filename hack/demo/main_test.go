package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The demo starts itself as the datacenter's programs: here it is the test binary.
func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(marker, "="); os.Getenv(name) == value {
		main()
		return
	}
	nettest.Main(m)
}

// TestDemo: the story comes to its end, is left up, and then removed without a trace. It checks itself what it shows.
func TestDemo(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil { // a demo that somebody has left up on this machine stays
		t.Fatal(err)
	}
	err := run(t.Context(), false, true)
	namespaces, _ := ownNamespaces()
	if err != nil || len(namespaces) != 10 {
		t.Errorf("the demo ends with %v, and leaves up %q", err, namespaces)
	}
	if err := down(t.Context()); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(runDir + "*")
	namespaces, _ = ownNamespaces()
	if processes, err := marked(); len(left)+len(namespaces)+len(processes) > 0 || err != nil {
		t.Errorf("what is left: %q, %q, processes %d, %v", left, namespaces, processes, err)
	}
}
