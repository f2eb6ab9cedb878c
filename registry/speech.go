package registry

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The serializations of a heartbeat: their number in the header, and null in them.
type serialization struct {
	id   byte
	null string
}

var (
	hessian2 = serialization{2, "N"}
	fastjson = serialization{6, "null\n"}
)

// A frame of the Dubbo protocol: magic, flags with the serialization, status, request ID, length of the body.
const (
	dubboHeader   = 16
	dubboMagic    = 0xdabb
	dubboRequest  = 0x80
	dubboTwoWay   = 0x40
	dubboEvent    = 0x20
	dubboMostBody = 8 << 20 // Dubbo's own limit
	dubboFrames   = 8       // to be looked at: the provider may begin with heartbeats of its own
)

// heartbeat asks for one, and waits for the answer to it.
func heartbeat(s serialization) func(io.ReadWriter, Target) error {
	return func(rw io.ReadWriter, _ Target) error {
		id := nonce()
		frame := binary.BigEndian.AppendUint16(nil, dubboMagic)
		frame = append(frame, dubboRequest|dubboTwoWay|dubboEvent|s.id, 0)
		frame = append(frame, id[:]...)
		frame = binary.BigEndian.AppendUint32(frame, uint32(len(s.null)))
		if _, err := rw.Write(append(frame, s.null...)); err != nil {
			return err
		}
		return heartbeatAnswer(rw, id)
	}
}

func heartbeatAnswer(r io.Reader, id [8]byte) error {
	in := bufio.NewReader(r)
	for range dubboFrames {
		header, err := peek(in, dubboHeader)
		if len(header) > 0 && header[0] != dubboMagic>>8 || len(header) > 1 && header[1] != dubboMagic&0xff {
			return said(header)
		}
		if err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(header[12:])
		if length > dubboMostBody {
			return fmt.Errorf("%w: a Dubbo frame of %d bytes", errElse, length)
		}
		if header[2]&dubboRequest == 0 && bytes.Equal(header[4:12], id[:]) {
			return nil // whatever its status: somebody understands Dubbo
		}
		if _, err := in.Discard(dubboHeader + int(length)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: Dubbo frames, none of which answers a heartbeat", errElse)
}

// peek returns n bytes; with an error, those that there are.
func peek(in *bufio.Reader, n int) ([]byte, error) {
	text, err := in.Peek(n)
	if len(text) > 0 && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return text, err
}

// Frames of HTTP/2 (RFC 9113, 4.1).
const (
	http2Preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	http2Header   = 9
	http2Settings = 4
	http2Ping     = 6
	http2Ack      = 1
	http2MostBody = 16384 // SETTINGS_MAX_FRAME_SIZE, which we do not raise
	http2Frames   = 16
)

// settings opens HTTP/2 and waits for the answer to a PING: so it is for Triple and gRPC.
func settings(rw io.ReadWriter, _ Target) error {
	id := nonce()
	hello := http2Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x08\x06\x00\x00\x00\x00\x00" + string(id[:])
	if _, err := io.WriteString(rw, hello); err != nil {
		return err
	}
	return settingsAnswer(rw, id)
}

func settingsAnswer(rw io.ReadWriter, id [8]byte) error {
	in := bufio.NewReader(rw)
	for n := range http2Frames {
		header, err := peek(in, http2Header)
		// The first frame is SETTINGS, of less than 256 settings: so begins nothing that people have written.
		if n == 0 && (len(header) > 0 && header[0] != 0 || len(header) > 3 && header[3] != http2Settings || len(header) > 4 && header[4]&http2Ack != 0) {
			return said(header)
		}
		if err != nil {
			return err
		}
		length := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
		kind, flags := header[3], header[4]
		if length > http2MostBody {
			return fmt.Errorf("%w: an HTTP/2 frame of %d bytes", errElse, length)
		}
		_, _ = in.Discard(http2Header) // it is there
		body, err := peek(in, min(length, len(id)))
		if err != nil {
			return err
		}
		if kind == http2Ping && flags&http2Ack != 0 && bytes.Equal(body, id[:]) {
			return nil
		}
		if _, err := in.Discard(length); err != nil {
			return err
		}
		if kind == http2Settings && flags&http2Ack == 0 {
			if _, err := io.WriteString(rw, "\x00\x00\x00\x04\x01\x00\x00\x00\x00"); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%w: HTTP/2 frames, none of which answers a PING", errElse)
}

// options asks what an HTTP server can, which changes nothing there (RFC 9110, 9.3.7). Any answer will do.
func options(rw io.ReadWriter, t Target) error {
	if _, err := fmt.Fprintf(rw, "OPTIONS * HTTP/1.1\r\nHost: %s\r\nUser-Agent: waymark\r\nConnection: close\r\n\r\n", hostPort(t.Host, t.Port)); err != nil {
		return err
	}
	return optionsAnswer(rw)
}

func optionsAnswer(r io.Reader) error {
	const want = "HTTP/1."
	begin, err := peek(bufio.NewReader(r), len(want)+len("1 200"))
	if len(begin) == 0 {
		return err
	}
	if n := min(len(begin), len(want)); string(begin[:n]) != want[:n] {
		return said(begin)
	}
	return err
}
