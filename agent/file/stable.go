package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSize bounds what is read of one file: 5,000 nodes with all their images are 50 MB.
const maxSize = 128 << 20

// errWriting says that a file is not finished.
var errWriting = errors.New("is open for writing, or has just changed")

// stamp tells two states of a file apart.
type stamp struct {
	device, inode uint64
	size          int64
	modified      time.Time
	changed       syscall.Timespec
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode, s.changed = sys.Dev, sys.Ino, sys.Ctim
	}
	return s
}

// readStable reads a file that nobody is writing. A read lease (fcntl(2), F_SETLEASE) is the exact test: the kernel grants
// it only while no process on this host has the file open for writing, and as long as it is held makes whoever wants to
// write wait; that is as long as the read takes. Where there are no leases (some network filesystems), a file counts as
// finished when it is as it was at the look before.
func readStable(path string, before stamp) ([]byte, stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, err
	}
	defer f.Close() // releases the lease
	_, lease := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	info, err := f.Stat()
	if err != nil {
		return nil, stamp{}, err
	}
	now := stampOf(info)
	switch {
	case errors.Is(lease, unix.EAGAIN), lease != nil && now != before:
		return nil, now, errWriting
	case now.size > maxSize:
		return nil, now, fmt.Errorf("is larger than %d MiB: split it", maxSize>>20)
	}
	data := make([]byte, now.size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, now, errWriting // it shrinks: there was no lease
	}
	return data, now, nil
}
