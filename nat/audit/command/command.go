// Package command runs the programs that tell what NAT rules there are. None of them may take long or say too much.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	timeout = 10 * time.Second
	hold    = 300 * time.Millisecond // that somebody else may keep the pipes of a program that has ended
	most    = 64 << 20               // bytes of output: 5,000 Services of kube-proxy are 5 MB
)

// Missing says that the program is not on this machine.
var Missing = exec.ErrNotFound

// Output runs a program and returns what it writes. Errors have what it complained of.
func Output(ctx context.Context, name string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := Stream(ctx, func(r io.Reader) error {
		_, err := out.ReadFrom(r)
		return err
	}, name, args...)
	return out.Bytes(), err
}

// Stream runs a program and has what it writes read.
func Stream(ctx context.Context, read func(io.Reader) error, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it may be a script: what it started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hold
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	call := name + " " + strings.Join(args, " ")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	limited := &io.LimitedReader{R: out, N: most}
	unread := read(limited)
	if unread == nil && limited.N <= 0 {
		unread = fmt.Errorf("it says more than %d bytes", most)
	}
	if unread != nil {
		cancel()
	}
	err = cmd.Wait()
	switch {
	case unread != nil && complaint.Len() == 0:
		return fmt.Errorf("%s: %w", call, unread)
	case ctx.Err() != nil && unread == nil:
		return fmt.Errorf("%s: no answer in time: %w", call, ctx.Err())
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("%s: %w: %s", call, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return nil
}
