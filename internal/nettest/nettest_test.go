package nettest

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestPacketsCrossAJoin(t *testing.T) {
	router := New(t, "router")
	Join(t, Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, router, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
		Run(t, "ping", "-c1", "-W2", addr)
	}
}

func TestHostIsOutOfReach(t *testing.T) {
	if os.Getpid() != 1 {
		t.Errorf("pid %d, want 1: not in a pid namespace of our own", os.Getpid())
	}
	if links := Run(t, "ip", "-o", "link"); strings.Count(links, "\n") > 2 {
		t.Errorf("want a fresh network namespace, have links:\n%s", links)
	}
}
