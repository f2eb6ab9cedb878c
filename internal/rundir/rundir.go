// Package rundir holds what our programs share in the run directory: one of each kind at a time, and Unix sockets that only
// the owner can open.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock makes the directory if it is not there, and makes sure that one program of a name serves it. It lasts until the file
// is closed; the kernel drops it with the process too, so a socket that is found under the lock is stale.
func Lock(dir, name string) (*os.File, error) {
	lock, err := open(dir, name+".lock")
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %s needs root", err, name)
	}
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another %s serves %s: lock %s: %w", name, dir, lock.Name(), err), lock.Close())
	}
	return lock, nil
}

func open(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
}

// Listen makes a Unix socket, under another name first: it appears only when nobody but the owner can open it, in the place
// of one that an earlier process has left.
func Listen(path string) (*net.UnixListener, error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
