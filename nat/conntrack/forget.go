package conntrack

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
)

// Forget deletes the entries, of both families, whose connection mark has under mask the value mark, and no others. It
// returns how many there were. The kernel selects them itself: others cost next to nothing.
func Forget(ctx context.Context, mark, mask uint32) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("forget connections with mark %#x/%#x: %w", mark, mask, err)
		}
	}()
	if mark == 0 || mark&^mask != 0 {
		return 0, errors.New("0 is that of connections which nobody has marked, and what the mask lacks that of none")
	}
	conn, closeConn, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer closeConn()
	marked := filter(attrMark, attrMarkMask, mark, mask)
	for _, err := range entries(conn, marked) {
		if err != nil {
			return 0, err
		}
		n++
	}
	if _, err := conn.Execute(request(remove, netlink.Acknowledge, marked)); err != nil {
		return 0, err
	}
	return n, nil
}
