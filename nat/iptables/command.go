package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// hold is how long somebody else may keep the pipes of a command that has ended.
const hold = 300 * time.Millisecond

// run runs a command with an input and returns its output. It returns soon after ctx ends, also when the command has left
// others behind. (go-iptables v0.8.0 knows neither contexts nor iptables-restore, hence not with it.)
func run(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it may be a script: what it started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hold
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // which is of a command that has succeeded
		return out.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s did not answer in time: %w", name, ctx.Err())
	case complaint.Len() > 0:
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return "", fmt.Errorf("%s: %w", name, err)
}
