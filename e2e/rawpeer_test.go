package e2e

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

const roleRawPeer = "raw peer"

// rawMessage is one message that a raw peer sends after it has brought its session up, or instead of its OPEN.
type rawMessage struct {
	Name  string
	Bytes string // hexadecimal, with the header
	Open  bool   // sent instead of the OPEN
}

// rawReport is what became of the messages.
type rawReport struct {
	Sent     int
	Ended    []string // names of messages after which the session was gone
	Problems []string // messages that could not be sent
}

// playRawPeer sends messages, read as JSON from standard input, to a BGP speaker: PEER LOCAL... as arguments. Each local
// address is a peer of its own, so that many can be in the penalty of a broken session at once.
func playRawPeer() {
	var messages []rawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&messages); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	peer, locals := os.Args[1], os.Args[2:]
	var (
		all   rawReport
		mu    sync.Mutex
		group sync.WaitGroup
	)
	for i, local := range locals {
		group.Go(func() {
			var r rawReport
			p := &rawPeer{local: local, peer: peer}
			defer p.close()
			for j := i; j < len(messages); j += len(locals) {
				m := messages[j]
				if err := p.send(m); err != nil {
					r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", m.Name, err))
					continue
				}
				r.Sent++
				if !p.alive() {
					r.Ended = append(r.Ended, m.Name)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.Sent += r.Sent
			all.Ended = append(all.Ended, r.Ended...)
			all.Problems = append(all.Problems, r.Problems...)
		})
	}
	group.Wait()
	slices.Sort(all.Ended)
	_ = json.NewEncoder(os.Stdout).Encode(all)
	os.Exit(0)
}

// rawPeer is a BGP peer that knows just enough to bring a session up.
type rawPeer struct {
	local, peer string
	conn        net.Conn
	in          *bufio.Reader
}

const (
	rawAS       = 64999
	typeOpen    = 1
	typeUpdate  = 2
	typeAlive   = 4
	rawAttempts = 60
)

// send sends the message on an established session, or on a fresh connection when it takes the OPEN's place.
func (p *rawPeer) send(m rawMessage) error {
	bytes, err := hex.DecodeString(m.Bytes)
	if err != nil {
		return err
	}
	if m.Open {
		p.close()
	}
	for range rawAttempts {
		if p.conn != nil {
			break
		}
		if err = p.connect(!m.Open); err != nil {
			p.close()
			time.Sleep(200 * time.Millisecond) // the speaker lets a peer wait whose session it has ended
		}
	}
	if p.conn == nil {
		return err
	}
	_, err = p.conn.Write(bytes)
	return err
}

func (p *rawPeer) connect(established bool) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.local)}, Timeout: time.Second}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(p.peer, "179"))
	if err != nil {
		return err
	}
	p.conn, p.in = conn, bufio.NewReader(conn)
	if !established {
		return nil
	}
	if _, err := conn.Write(append(rawOpen(net.ParseIP(p.local)), bgpMessage(typeAlive, nil)...)); err != nil {
		return err
	}
	for _, want := range []byte{typeOpen, typeAlive} {
		if got, err := p.read(2 * time.Second); err != nil || got != want {
			return fmt.Errorf("bring the session up: message of type %d, want %d: %w", got, want, errors.Join(err))
		}
	}
	return nil
}

func (p *rawPeer) read(timeout time.Duration) (byte, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(timeout))
	var header [19]byte
	if _, err := io.ReadFull(p.in, header[:]); err != nil {
		return 0, err
	}
	_, err := p.in.Discard(int(binary.BigEndian.Uint16(header[16:])) - len(header))
	return header[18], err
}

// alive says whether the speaker keeps the session after the last message: it answers neither by a NOTIFICATION nor by
// closing, for a moment.
func (p *rawPeer) alive() bool {
	for {
		typ, err := p.read(100 * time.Millisecond)
		if err == nil && typ != 3 {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true
		}
		p.close()
		return false
	}
}

func (p *rawPeer) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// bgpMessage adds the header of RFC 4271 section 4.1.
func bgpMessage(typ byte, body []byte) []byte {
	b := slices.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(19+len(body)))
	return append(append(b, typ), body...)
}

// rawOpen is an OPEN with the capabilities for IPv4 unicast and four-octet AS numbers.
func rawOpen(id net.IP) []byte {
	capabilities := []byte{1, 4, 0, 1, 0, 1, 65, 4, 0, 0, rawAS >> 8, rawAS & 0xff}
	body := append([]byte{4, rawAS >> 8, rawAS & 0xff, 0, 90}, id.To4()...)
	body = append(body, byte(len(capabilities)+2), 2, byte(len(capabilities)))
	return bgpMessage(typeOpen, append(body, capabilities...))
}
