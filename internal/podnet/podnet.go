// Package podnet finds the network namespace of a pod on this host by the pod's address, and opens connections from inside it.
// It asks no container runtime: the kernel knows who has which address.
package podnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace, held open: it lives until Close, even if the pod ends.
type Namespace struct {
	file *os.File
	path string
}

// ErrNotHere is that the pod is on another node, or has ended.
var ErrNotHere = errors.New("no network namespace on this host has the address")

// own is the namespace of this process.
const own = "/proc/self/ns/net"

// Find returns the namespace on this host that owns an address. It looks at those of all processes, and at those that have a
// name in /run/netns. The namespace of this process itself is not a pod's.
func Find(address netip.Addr) (*Namespace, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("to enter the network namespace of a pod needs root")
	}
	spaces, denied, err := all()
	if err != nil {
		return nil, fmt.Errorf("look for the network namespace of a pod: %w", err)
	}
	var owners []*Namespace
	for _, n := range spaces {
		owner, err := n.has(address)
		if errors.Is(err, fs.ErrPermission) {
			denied++
		}
		if owner {
			owners = append(owners, n)
		} else {
			_ = n.Close()
		}
	}
	switch len(owners) {
	case 1:
		return owners[0], nil
	case 0:
		if here, err := has(address); err == nil && here {
			return nil, fmt.Errorf("%s is an address of this host itself, not of a pod", address)
		}
		if denied > 0 {
			return nil, fmt.Errorf("look for the network namespace with the address %s: %d may not be looked into: that needs CAP_SYS_PTRACE, and CAP_SYS_ADMIN to enter", address, denied)
		}
		return nil, fmt.Errorf("%w %s", ErrNotHere, address)
	}
	var where []string
	for _, n := range owners {
		where = append(where, n.path)
		_ = n.Close()
	}
	return nil, fmt.Errorf("%d network namespaces here have the address %s: %s; which of them is the pod's cannot be told", len(owners), address, strings.Join(where, ", "))
}

// all opens every namespace but our own, each once. Denied is of how many processes it may not be seen.
func all() (list []*Namespace, denied int, err error) {
	var paths []string
	for _, pattern := range []string{"/run/netns/*", "/proc/[0-9]*/ns/net"} {
		found, _ := filepath.Glob(pattern) // the patterns are good
		paths = append(paths, found...)
	}
	var here unix.Stat_t
	if err := unix.Stat(own, &here); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", own, err)
	}
	type identity struct{ device, inode uint64 }
	seen := map[identity]bool{{here.Dev, here.Ino}: true}
	for _, path := range paths {
		var stat unix.Stat_t
		err := unix.Stat(path, &stat)
		if errors.Is(err, fs.ErrPermission) {
			denied++
		}
		if err != nil || seen[identity{stat.Dev, stat.Ino}] {
			continue // a process that has ended has none
		}
		if file, err := os.Open(path); err == nil {
			seen[identity{stat.Dev, stat.Ino}] = true
			list = append(list, &Namespace{file, path})
		}
	}
	return list, denied, nil
}

// has says whether the namespace owns an address. A name in /run/netns may be left over, and cannot be entered.
func (n *Namespace) has(address netip.Addr) (found bool, err error) {
	err = n.Do(func() (err error) {
		found, err = has(address)
		return err
	})
	return found, err
}

func has(address netip.Addr) (bool, error) {
	addresses, err := net.InterfaceAddrs()
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == address
	}), err
}

// Do runs a function on a thread inside the namespace. Goroutines that it starts are outside.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	go func() { done <- n.inside(f) }()
	return <-done
}

// inside runs in a goroutine that ends with it.
func (n *Namespace) inside(f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// What /proc/self and /proc/net show is the namespace of the first thread: it must stay, and is kept busy meanwhile.
		defer runtime.UnlockOSThread()
		return n.Do(f)
	}
	// Never unlocked: the thread ends with the goroutine, so that nothing else runs inside by mistake.
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", n.path, os.NewSyscallError("setns", err))
	}
	return f()
}

// DialContext connects from inside the namespace. The address is ADDRESS:PORT: names are another matter there than here.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("connect from network namespace %s: want ADDRESS:PORT: %w", n.path, err)
	}
	// With an address in place of a name the socket is made by the goroutine that calls.
	err = n.Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, to.String())
		return err
	})
	return conn, err
}

// Close lets go of the namespace. Connections that were made in it stay.
func (n *Namespace) Close() error { return n.file.Close() }
