package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// What all are fed.
const (
	asPaths   = 20
	perUpdate = 950 // prefixes /24 in an UPDATE: nearly the 4,096 bytes that a message may have
)

// feeder is a BGP speaker that answers one session, and says everything as fast as the socket takes it.
type feeder struct {
	listener net.Listener
	conn     net.Conn
	up       chan error
}

// listen waits for a session in the background.
func listen() (*feeder, error) {
	l, err := net.Listen("tcp", datacenterAddr+":179")
	if err != nil {
		return nil, err
	}
	f := &feeder{listener: l, up: make(chan error, 1)}
	go func() { f.up <- f.open() }()
	return f, nil
}

func (f *feeder) close() {
	_ = f.listener.Close()
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

// established waits for the session with a process.
func (f *feeder) established(p *nettest.Process) error {
	select {
	case err := <-f.up:
		return err
	case <-p.Done():
		return fmt.Errorf("has ended: %s", p.Output())
	case <-time.After(30 * time.Second):
		return fmt.Errorf("no BGP session within 30 s")
	}
}

// open brings the session up, and reads on from it.
func (f *feeder) open() error {
	conn, err := f.listener.Accept()
	if err != nil {
		return err
	}
	f.conn = conn
	open, err := packet.NewBGPOpenMessage(packet.AS_TRANS, 240, netip.MustParseAddr(datacenterAddr), []packet.OptionParameterInterface{
		packet.NewOptionParameterCapability([]packet.ParameterCapabilityInterface{
			packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(datacenterASN),
		}),
	})
	if err != nil {
		return err
	}
	for _, message := range []*packet.BGPMessage{open, packet.NewBGPKeepAliveMessage()} {
		b, err := message.Serialize()
		if err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	for {
		switch kind, err := f.read(); {
		case err != nil:
			return err
		case kind == packet.BGP_MSG_NOTIFICATION:
			return fmt.Errorf("the session is refused")
		case kind == packet.BGP_MSG_KEEPALIVE:
			go func() {
				for err == nil {
					_, err = f.read()
				}
			}()
			return nil
		}
	}
}

func (f *feeder) read() (kind byte, err error) {
	header := make([]byte, packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(f.conn, header); err != nil {
		return 0, err
	}
	_, err = io.CopyN(io.Discard, f.conn, int64(binary.BigEndian.Uint16(header[16:18]))-packet.BGP_HEADER_LENGTH)
	return header[18], err
}

// prefixes are the n routes that all are measured with.
func prefixes(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}), 24)
	}
	return list
}

// updates are the n routes as BGP tells them: with one next hop, and AS_PATHs of four that take turns.
func updates(n int) ([]byte, error) {
	next, err := packet.NewPathAttributeNextHop(netip.MustParseAddr(datacenterAddr))
	if err != nil {
		return nil, err
	}
	all := prefixes(n)
	var out []byte
	for path := range asPaths {
		attributes := []packet.PathAttributeInterface{
			packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP),
			packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ,
				[]uint32{datacenterASN, 65100, 65200, uint32(65300 + path)})}),
			next,
		}
		var list []packet.PathNLRI
		for i := path; i < n; i += asPaths {
			nlri, err := packet.NewIPAddrPrefix(all[i])
			if err != nil {
				return nil, err
			}
			list = append(list, packet.PathNLRI{NLRI: nlri})
			if len(list) == perUpdate || i+asPaths >= n {
				b, err := packet.NewBGPUpdateMessage(nil, attributes, list).Serialize()
				if err != nil {
					return nil, err
				}
				out = append(out, b...)
				list = list[:0]
			}
		}
	}
	end, err := packet.NewEndOfRib(packet.RF_IPv4_UC).Serialize()
	return append(out, end...), err
}
