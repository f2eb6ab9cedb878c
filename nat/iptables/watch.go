package iptables

import (
	"context"
	"time"
)

// How often Watch looks. iptables-legacy tells of no change, and with thousands of foreign rules a look is not cheap: it may
// take a twentieth of the time of one processor.
const (
	interval    = 500 * time.Millisecond
	share       = 20
	maxInterval = 5 * time.Second
)

// Watch calls notify when rules or sets are no longer as the last Apply left them, and returns nil when ctx ends. It looks twice
// a second, and first at the start. Of sets it looks at the number of their elements; Apply reads them all.
func (b *Backend) Watch(ctx context.Context, notify func()) error {
	for {
		start := time.Now()
		if b.drifted(ctx) {
			notify()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(interval, share*time.Since(start)), maxInterval)):
		}
	}
}

// drifted tells whether somebody changed what the last Apply left, or may have. What cannot be read is for Apply to report.
func (b *Backend) drifted(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == nil {
		return b.written
	}
	have, err := b.read(ctx, b.left.want, false)
	return err != nil || !have.equal(&kept{contents: b.left.contents, sets: b.left.sets.counts()})
}
