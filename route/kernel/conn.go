package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batchBytes   = 128 << 10 // of messages in one system call; measured: more gains nothing
	receiveBytes = 64 << 10  // the kernel fills at most 32 KiB of a dump at a time
	socketBytes  = 4 << 20   // room for an error message for each message of a batch
	replyTimeout = 5 * time.Second
)

var (
	errInterrupted = errors.New("the kernel's routes changed while they were read")
	errClosed      = errors.New("no answer from the kernel")
)

// conn is a netlink socket that asks and waits for the answer. The kernel works on a request within the system call that
// sends it, so its answers are there when the call returns.
type conn struct {
	fd  int
	pid uint32 // the socket's address: notifications of what it changed bear it
	seq uint32
	out []byte
	in  []byte
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	c := &conn{fd: fd, in: make([]byte, receiveBytes)}
	if err := c.prepare(); err != nil {
		c.close()
		return nil, fmt.Errorf("prepare netlink socket: %w", err)
	}
	return c, nil
}

func (c *conn) prepare() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	self, err := unix.Getsockname(c.fd)
	if err != nil {
		return err
	}
	c.pid = self.(*unix.SockaddrNetlink).Pid
	timeout := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	return errors.Join(
		buffer(c.fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF),
		buffer(c.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF),
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1),
	)
}

// buffer sets a socket buffer's size, beyond the system's limit if it may.
func buffer(fd, force, plain int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBytes) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBytes)
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// write sends n messages in batches and then tells how each one went, in their order. encode appends message i to b, or
// nothing. The kernel answers only what fails, and the last message of a batch: a hundred thousand acknowledgements would
// cost a system call each. An error of write itself leaves unknown how the rest went.
func (c *conn) write(ctx context.Context, n int, encode func(b []byte, i int) []byte, done func(i int, err error)) error {
	failed := make(map[int]error)
	for i := 0; i < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, last := i, -1
		c.out = c.out[:0]
		for ; i < n && len(c.out) < batchBytes; i++ {
			start := len(c.out)
			if c.out = encode(c.out, i); len(c.out) == start {
				continue
			}
			header(c.out[start:]).finish(c.seq + uint32(i-first))
			last = start
		}
		if last >= 0 {
			header(c.out[last:]).add(unix.NLM_F_ACK)
			if err := c.exchange(header(c.out[last:]).seq(), first, failed); err != nil {
				return err
			}
		}
		c.seq += uint32(i - first)
		for j := first; j < i; j++ {
			done(j, failed[j])
		}
		clear(failed)
	}
	return nil
}

// exchange sends the batch in c.out, whose items begin with number first, and gathers the errors until last is answered.
func (c *conn) exchange(last uint32, first int, failed map[int]error) error {
	base := c.seq
	if err := c.send(c.out); err != nil {
		return err
	}
	for acknowledged := false; !acknowledged; {
		err := c.receive(func(h header, body []byte) error {
			index := h.seq() - base
			if h.typ() != unix.NLMSG_ERROR || len(body) < 4 || index > last-base {
				return nil // left over from a request that was given up
			}
			if code := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); code == unix.EPERM {
				return code
			} else if code != 0 {
				failed[first+int(index)] = &kernelError{code: code, text: explanation(h, body)}
			}
			acknowledged = acknowledged || h.seq() == last
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dump asks for all objects of a kind and passes each to each.
func (c *conn) dump(typ uint16, payload []byte, each func(body []byte)) error {
	c.seq++
	seq := c.seq
	c.out = append(newMessage(c.out[:0], typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP), payload...)
	header(c.out).finish(seq)
	if err := c.send(c.out); err != nil {
		return err
	}
	interrupted := false
	for finished := false; !finished; {
		err := c.receive(func(h header, body []byte) error {
			if h.seq() != seq {
				return nil
			}
			interrupted = interrupted || h.flags()&unix.NLM_F_DUMP_INTR != 0
			switch h.typ() {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				finished = true
				if len(body) >= 4 {
					if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
						return unix.Errno(-code)
					}
				}
			default:
				each(body)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

func (c *conn) send(b []byte) error {
	for {
		_, err := unix.Write(c.fd, b)
		if err != unix.EINTR {
			return os.NewSyscallError("send to kernel", err)
		}
	}
}

// receive waits for one datagram and passes its messages to each.
func (c *conn) receive(each func(h header, body []byte) error) error {
	n, from, err := unix.Recvfrom(c.fd, c.in, 0)
	switch {
	case err == unix.EINTR:
		return nil
	case err == unix.EAGAIN:
		return errClosed
	case err != nil:
		return os.NewSyscallError("receive from kernel", err)
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return nil // another program wrote to our socket
	}
	return messages(c.in[:n], each)
}

// messages splits a datagram.
func messages(b []byte, each func(h header, body []byte) error) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := header(b)
		length := int(h.length())
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return fmt.Errorf("netlink message of %d bytes in %d", length, len(b))
		}
		if err := each(h, b[unix.NLMSG_HDRLEN:length]); err != nil {
			return err
		}
		b = b[min(align(length), len(b)):]
	}
	return nil
}

// kernelError is the kernel's answer to one message.
type kernelError struct {
	code unix.Errno
	text string // the kernel's own words, often empty
}

func (e *kernelError) Error() string {
	if e.text == "" {
		return e.code.Error()
	}
	return fmt.Sprintf("%s (%s)", e.text, e.code.Error())
}

func (e *kernelError) Unwrap() error { return e.code }

// explanation is the text in an error message's extended acknowledgement.
func explanation(h header, body []byte) string {
	if h.flags()&unix.NLM_F_ACK_TLVS == 0 {
		return ""
	}
	skip := 4 + unix.NLMSG_HDRLEN // the error code and the request's header
	if h.flags()&unix.NLM_F_CAPPED == 0 && len(body) >= skip {
		skip = 4 + align(int(header(body[4:]).length()))
	}
	if len(body) < skip {
		return ""
	}
	for typ, value := range attributes(body[skip:]) {
		if typ == unix.NLMSGERR_ATTR_MSG {
			return string(bytes.TrimRight(value, "\x00"))
		}
	}
	return ""
}
