package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

const (
	// gather is how long events are gathered before the kernel is read: they come in bursts.
	gather = 20 * time.Millisecond
	// gatherBusy is gather while events keep coming, as when pods start.
	gatherBusy = 250 * time.Millisecond
	quiet      = time.Second
	// look is how often proxy neighbours are looked at: the kernel tells nobody when they go.
	look = 500 * time.Millisecond
	// bufferBytes holds events while the kernel is read.
	bufferBytes = 1 << 20
)

// Watch calls notify when the kernel's tunnels are no longer what has been applied, so that Apply has work; also once when it
// begins. It runs until ctx ends, and returns an error only if it cannot listen (any more). notify must not block.
func (k *Kernel) Watch(ctx context.Context, notify func()) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return fmt.Errorf("listen for kernel events: %w", err)
	}
	defer context.AfterFunc(ctx, socket.Close)()
	defer socket.Close()
	if err := socket.SetReceiveBufferSize(bufferBytes, true); err != nil {
		return fmt.Errorf("listen for kernel events: %w", err)
	}
	events := make(chan struct{}, 1)
	failed := make(chan error, 1)
	go func() { failed <- k.receive(socket, events) }()
	notify()
	looking := time.NewTicker(look)
	defer looking.Stop()
	var read time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("listen for kernel events: %w", err)
		case <-looking.C:
			if k.silenced() {
				notify()
			}
			continue
		case <-events:
		}
		wait := gather
		if time.Since(read) < quiet {
			wait = gatherBusy
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		select {
		case <-events:
		default:
		}
		if read = time.Now(); k.drifted() {
			notify()
		}
	}
}

// receive puts one thing into events for any number that may concern us.
func (k *Kernel) receive(socket *nl.NetlinkSocket, events chan<- struct{}) error {
	for {
		messages, _, err := socket.Receive()
		relevant := errors.Is(err, unix.ENOBUFS) // events are lost, so anything may have happened
		if err != nil && !relevant && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, m := range messages {
			relevant = relevant || k.concerns(m.Header.Type, m.Data)
		}
		if relevant {
			select {
			case events <- struct{}{}:
			default:
			}
		}
	}
}

// concerns leaves out what is frequent and never ours: other programs' routes, and neighbours of other devices.
func (k *Kernel) concerns(kind uint16, body []byte) bool {
	switch kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(body) >= unix.SizeofRtMsg && body[5] == route.TunnelProtocol
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		devices := k.devices.Load()
		return devices != nil && len(body) >= unix.SizeofNdMsg && (*devices)[int(binary.NativeEndian.Uint32(body[4:]))]
	}
	return true
}
