package nftables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long after an event Watch looks at the table: one change is many events.
const settle = 20 * time.Millisecond

// Watch calls notify when the table is no longer as the last Apply left it, and returns nil when ctx ends. Changes of other
// tables, and our own, cause no call. The table is also looked at once at the start.
func (b *Backend) Watch(ctx context.Context, notify func()) error {
	conn, err := listen()
	if err != nil {
		return err
	}
	defer conn.Close()
	events := make(chan struct{}, 1)
	events <- struct{}{}
	failed := make(chan error, 1)
	go func() { failed <- receive(conn, events) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("nftables: receive ruleset changes: %w", err)
		case <-events:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
		select {
		case <-events: // of before the look that follows
		default:
		}
		if b.drifted() {
			notify()
		}
	}
}

// listen opens a socket that hears of every change of the ruleset.
func listen() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("nftables: open netlink socket: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		conn.Close()
		return nil, fmt.Errorf("nftables: join the group of ruleset changes: %w", err)
	}
	return conn, nil
}

// receive passes on that our table changed, until the connection is closed.
func receive(conn *netlink.Conn, events chan<- struct{}) error {
	for {
		messages, err := conn.Receive()
		lost := errors.Is(err, unix.ENOBUFS)
		if err != nil && !lost {
			return err
		}
		ours := lost
		for _, m := range messages {
			ours = ours || concernsUs(m)
		}
		if ours {
			select {
			case events <- struct{}{}:
			default:
			}
		}
	}
}

// concernsUs looks no further than the name of the table, the first attribute of every object: rulesets of others are large.
func concernsUs(m netlink.Message) bool {
	if len(m.Data) == 0 || m.Data[0] != unix.NFPROTO_INET {
		return false
	}
	for kind, value := range attributes(body(m)) {
		return kind == unix.NFTA_TABLE_NAME && text(value) == tableName
	}
	return false
}

// onlyOne tells whether one transaction, and no more, has changed our table since conn began to listen. It is false when the
// kernel had too much to tell.
func onlyOne(conn *netlink.Conn) (bool, error) {
	until, err := currentGeneration()
	if err != nil {
		return false, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return false, fmt.Errorf("nftables: limit the wait for ruleset changes: %w", err)
	}
	transactions, ours := 0, false
	for {
		messages, err := conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("nftables: receive ruleset changes: %w", err)
		}
		for _, m := range messages {
			ours = ours || concernsUs(m)
			id, ends := generationOf(m)
			if !ends {
				continue
			}
			if ours {
				transactions, ours = transactions+1, false
			}
			if int32(id-until) >= 0 { // it wraps
				return transactions == 1, nil
			}
		}
	}
}

// drifted tells whether somebody changed what the last Apply left, or may have. A table that cannot be read is for Apply to report.
func (b *Backend) drifted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == nil {
		return b.written
	}
	have, err := b.read()
	if err != nil || !have.equal(b.left) {
		return true
	}
	b.left = have
	return false
}
