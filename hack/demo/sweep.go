package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sweep removes every trace of a demo, whole or half-built: processes that bear the marker, namespaces, the run directory. It
// tells whether there was any. It goes on after an interrupt, and so takes no context.
func sweep() (found bool, err error) {
	killed, err := killMarked()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	namespaces, err := ownNamespaces()
	if err != nil {
		return false, err
	}
	var errs []error
	for _, ns := range namespaces {
		var inside string
		_ = eventually(ctx, 3*time.Second, func() error { // a big process takes a while to end
			if inside, _ = capture(ctx, "ip", "netns", "pids", ns); inside != "" {
				return errors.New("somebody is in it")
			}
			return nil
		})
		if inside != "" {
			fmt.Printf("Note: a process that is not the demo's still runs in %s, and keeps what is in it: PID %s\n",
				ns, strings.Join(strings.Fields(inside), ", "))
		}
		if _, err := capture(ctx, "ip", "netns", "del", ns); err != nil {
			// "ip netns add" was interrupted: the name is there, the namespace is not.
			if os.Remove(filepath.Join(namespaceDir, ns)) != nil {
				errs = append(errs, err)
			}
		}
	}
	_, missing := os.Stat(runDir)
	errs = append(errs, os.RemoveAll(runDir))
	return killed || len(namespaces) > 0 || missing == nil, errors.Join(errs...)
}

const namespaceDir = "/run/netns" // of ip netns

func ownNamespaces() ([]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var own []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), namespacePrefix) {
			own = append(own, e.Name())
		}
	}
	return own, nil
}

// killMarked kills the demo's processes, known by the marker in their environment, and waits for their end.
func killMarked() (found bool, err error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids, err := marked()
		if err != nil || len(pids) == 0 {
			return found, err
		}
		found = true
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			return found, fmt.Errorf("processes %v do not end after SIGKILL", pids)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func marked() ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, file := range files {
		// It is empty for a process that has ended and waits for its parent to notice.
		environment, err := os.ReadFile(file)
		if err != nil || !slices.ContainsFunc(bytes.Split(environment, []byte{0}), func(v []byte) bool { return string(v) == marker }) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
