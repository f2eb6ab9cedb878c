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
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it may be a script: what it started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hold
	out, complaint := bounded{left: most}, bounded{left: 4 << 10}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	call := name + " " + strings.Join(args, " ")
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: no answer in time: %w", call, ctx.Err())
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("%s: %w: %s", call, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.Bytes(), nil
}

// bounded refuses what is too much, which ends the program that writes it.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("it says too much: %w", io.ErrShortBuffer)
	}
	return b.Buffer.Write(p)
}
