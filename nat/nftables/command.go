package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/knftables"
)

// hold is how long somebody else may keep the pipes of an nft that has ended.
const hold = 300 * time.Millisecond

// begin begins a transaction. Of knftables only the text of transactions is wanted, hence the fake, which writes the same: the
// real one runs nft with no bound on its time when it is made, and later waits, whatever a context says, for everybody
// who holds a pipe of nft (v0.0.22).
func begin() *knftables.Transaction {
	return knftables.NewFake(knftables.InetFamily, tableName).NewTransaction()
}

// run has nft carry out a transaction.
func run(ctx context.Context, tx *knftables.Transaction, options ...string) error {
	return nft(ctx, tx.String(), nil, append(options, "-f", "-")...)
}

// nft runs nft with an input. It returns soon after ctx ends, also when nft has left others behind.
func nft(ctx context.Context, input string, out *bytes.Buffer, args ...string) error {
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Stdin = strings.NewReader(input)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if out != nil {
		cmd.Stdout = out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // nft may be a script: what it started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hold
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // which is of an nft that has succeeded
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("nft did not answer in time: %w", ctx.Err())
	case complaint.Len() > 0:
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	return err
}
