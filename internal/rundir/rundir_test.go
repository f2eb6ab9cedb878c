package rundir

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	lock, err := Lock(dir, "waymark-test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, "waymark-test"); err == nil || !strings.Contains(err.Error(), "another waymark-test serves "+dir) {
		t.Errorf("second lock: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if lock, err = Lock(dir, "waymark-test"); err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
	lock.Close()
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	for range 2 { // the second takes the place of a socket that nobody has removed
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}
