package rundir

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

// TestLockWithoutRights: this thread has the rights of nobody on files.
func TestLockWithoutRights(t *testing.T) {
	parent := t.TempDir()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	_, err := Lock(filepath.Join(parent, "run"), "waymark-test")
	if _, err := unix.SetfsuidRetUid(0); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.HasSuffix(err.Error(), ": permission denied: waymark-test needs root") {
		t.Errorf("lock: %v", err)
	}
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
