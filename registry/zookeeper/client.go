// Package zookeeper reads what Dubbo providers have registered in ZooKeeper, and asks its servers for their limits and
// connections.
//
// It has a client of its own, which only reads: the usual library ends the process when a server answers with a frame of less
// than 16 bytes, and makes room for whatever number of bytes or names the server says, so that it may not be pointed at a port
// of which one does not know what is behind it.
package zookeeper

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

// Operations, and IDs of requests, of the protocol (ZooDefs.OpCode and ClientCnxn of ZooKeeper).
const (
	opExists      = 3
	opGetData     = 4
	opGetChildren = 8
	opClose       = -11
	opAuth        = 100
	idAuth        = -4
)

const (
	sessionTimeout = 30 * time.Second
	closing        = time.Second // for the end of a session
	maxAnswer      = 512 << 20   // bytes of one, which is not kept in memory
	maxString      = 4 << 20     // bytes of a name or of data; a server takes 1 MB unless it is told otherwise
	inFlight       = 64          // requests that are not answered yet
)

// Code is an error of ZooKeeper's (KeeperException.Code).
type Code int32

// The codes that readers meet.
const (
	NoNode     Code = -101
	NoAuth     Code = -102
	AuthFailed Code = -115
)

func (c Code) Error() string {
	switch c {
	case NoNode:
		return "there is no such node"
	case NoAuth:
		return "this user may not read it"
	case AuthFailed:
		return "user or password is wrong"
	}
	return fmt.Sprintf("ZooKeeper's error %d", int32(c))
}

// Session is one session with one server, for one goroutine.
type Session struct {
	ID      int64
	Server  string // HOST:PORT
	conn    net.Conn
	in      *bufio.Reader
	timeout time.Duration // of each answer
	id      int32         // of the last request
	stop    func() bool
}

// Open begins a session on a connection, which it takes over. When the context ends, so does the session.
func Open(ctx context.Context, conn net.Conn, auth registry.Secret, timeout time.Duration) (*Session, error) {
	s := &Session{Server: conn.RemoteAddr().String(), conn: conn, in: bufio.NewReaderSize(conn, 64<<10), timeout: timeout}
	s.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	err := s.connect()
	if err == nil && auth.Reveal() != "" {
		err = s.authenticate(auth)
	}
	if err != nil {
		s.stop()
		_ = conn.Close()
		return nil, because(ctx, err)
	}
	return s, nil
}

// because prefers the reason for which the connection was closed.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Close ends the session, so that the server has forgotten it and its connection, of which it may allow few.
func (s *Session) Close() {
	defer s.conn.Close()
	if !s.stop() {
		return
	}
	_ = s.conn.SetDeadline(time.Now().Add(closing))
	if _, err := s.conn.Write(frameOf(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 1), uint32(opClose&0xffffffff)))); err == nil {
		_, _ = io.Copy(io.Discard, s.in) // until the server hangs up
	}
}

func frameOf(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func (s *Session) connect() error {
	body := make([]byte, 4+8, 64)                                                       // protocol version, last zxid seen
	body = binary.BigEndian.AppendUint32(body, uint32(sessionTimeout/time.Millisecond)) // that we would like
	body = append(body, make([]byte, 8)...)                                             // a new session
	body = appendString(body, make([]byte, 16))                                         // without a password yet
	body = append(body, 0)                                                              // on no read-only server
	_ = s.conn.SetDeadline(time.Now().Add(s.timeout))
	if _, err := s.conn.Write(frameOf(body)); err != nil {
		return err
	}
	head, err := s.in.Peek(4)
	if errors.Is(err, io.EOF) {
		return errors.New("the server hangs up at once: it has no quorum, or this address has too many connections (maxClientCnxns), or the port is one for TLS")
	}
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if length := binary.BigEndian.Uint32(head); length < 36 || length > 256 {
		begin, _ := s.in.Peek(min(s.in.Buffered(), 40))
		return fmt.Errorf("the server is not ZooKeeper: its answer begins with %q", begin)
	}
	a, err := s.answer()
	if err != nil {
		return err
	}
	a.skip(4 + 4)
	s.ID = a.int64()
	if err := a.end(); err != nil {
		return err
	}
	if s.ID == 0 {
		return errors.New("the server gives no session")
	}
	return nil
}

func (s *Session) authenticate(auth registry.Secret) error {
	body := binary.BigEndian.AppendUint32(nil, uint32(idAuth&0xffffffff))
	body = binary.BigEndian.AppendUint32(body, opAuth)
	body = append(body, make([]byte, 4)...)
	body = appendString(appendString(body, "digest"), auth.Reveal())
	_ = s.conn.SetDeadline(time.Now().Add(s.timeout))
	if _, err := s.conn.Write(frameOf(body)); err != nil {
		return err
	}
	a, err := s.answer()
	if err != nil {
		return err
	}
	_, code := a.header()
	if err := a.end(); err != nil {
		return err
	}
	if code != nil {
		return code
	}
	return nil
}

// request is one that reads.
type request struct {
	op   int32
	path string
}

func (r request) frame(id int32) []byte {
	body := binary.BigEndian.AppendUint32(nil, uint32(id))
	body = appendString(binary.BigEndian.AppendUint32(body, uint32(r.op)), r.path)
	return frameOf(append(body, 0)) // without a watch
}

// ask sends requests, several ahead of the answers, and has the body of each answer read, in their order. An error of the
// server's about one request is passed on; an error of read ends the session's usefulness, and ask.
func (s *Session) ask(requests []request, read func(i int, a *answer, err error) error) error {
	sent := 0
	first := s.id + 1
	for i := range requests {
		if sent < len(requests) && sent-i <= inFlight/2 { // many at once: each Write is a packet
			var frames []byte
			for ; sent < len(requests) && sent-i < inFlight; sent++ {
				s.id++
				frames = append(frames, requests[sent].frame(s.id)...)
			}
			_ = s.conn.SetWriteDeadline(time.Now().Add(s.timeout))
			if _, err := s.conn.Write(frames); err != nil {
				return fmt.Errorf("ask %s: %w", s.Server, err)
			}
		}
		_ = s.conn.SetReadDeadline(time.Now().Add(s.timeout))
		a, err := s.answer()
		if err != nil {
			return err
		}
		id, code := a.header()
		if a.err == nil && id != first+int32(i) {
			return fmt.Errorf("%s answers request %d in place of %d", s.Server, id, first+int32(i))
		}
		if err := read(i, a, code); err != nil {
			return err
		}
		if err := a.end(); err != nil {
			return err
		}
	}
	return nil
}

// answer is one that is being read. The first error stays, and what is read after it is zero.
type answer struct {
	in   *bufio.Reader
	left int
	err  error
}

func (s *Session) answer() (*answer, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, fmt.Errorf("%s does not answer: %w", s.Server, err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxAnswer {
		return nil, fmt.Errorf("%s answers with %d bytes", s.Server, length)
	}
	return &answer{in: s.in, left: int(length)}, nil
}

func (a *answer) take(n int) []byte {
	if a.err == nil && (n < 0 || n > a.left) {
		a.err = errors.New("an answer that breaks off")
	}
	if a.err != nil {
		return nil
	}
	a.left -= n
	b := make([]byte, n)
	if _, err := io.ReadFull(a.in, b); err != nil {
		a.err = fmt.Errorf("an answer that breaks off: %w", err)
	}
	return b
}

func (a *answer) int32() int32 {
	b := a.take(4)
	if a.err != nil {
		return 0
	}
	return int32(binary.BigEndian.Uint32(b))
}

func (a *answer) int64() int64 {
	high := a.int32()
	return int64(high)<<32 | int64(uint32(a.int32()))
}

// bytes are a string or a buffer; of the latter -1 is none.
func (a *answer) bytes() []byte {
	n := a.int32()
	if n == -1 {
		return nil
	}
	if a.err == nil && n > maxString {
		a.err = fmt.Errorf("a name or data of %d bytes", n)
	}
	return a.take(int(n))
}

func (a *answer) skip(n int) {
	if a.err == nil && n > a.left {
		a.err = errors.New("an answer that breaks off")
	}
	if a.err == nil {
		a.left -= n
		if _, err := a.in.Discard(n); err != nil {
			a.err = fmt.Errorf("an answer that breaks off: %w", err)
		}
	}
}

func (a *answer) header() (id int32, code error) {
	id = a.int32()
	a.skip(8) // zxid
	if c := Code(a.int32()); c != 0 {
		code = c
	}
	return id, code
}

// owner reads a Stat: the session that the node goes with; 0: it stays.
func (a *answer) owner() int64 {
	a.skip(4*8 + 3*4)
	owner := a.int64()
	a.skip(4 + 4 + 8)
	return owner
}

// names reads a list of them, one at a time: there may be a hundred thousand.
func (a *answer) names(each func(string) error) error {
	for range a.int32() {
		name := string(a.bytes())
		if a.err != nil {
			return a.err
		}
		if err := each(name); err != nil {
			return err
		}
	}
	return a.err
}

// end leaves what nobody has read.
func (a *answer) end() error {
	a.skip(a.left)
	return a.err
}
