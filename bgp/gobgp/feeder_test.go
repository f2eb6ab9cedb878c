package gobgp

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// feeder is a peer made by hand: it answers one session and sends what it is told to.
type feeder struct {
	listener net.Listener
	conn     net.Conn
}

// listenFeeder makes a peer with AS 64512 that waits for the speaker at address.
func listenFeeder(t testing.TB, address string) *feeder {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &feeder{listener: l}
	t.Cleanup(func() {
		l.Close()
		if f.conn != nil {
			f.conn.Close()
		}
	})
	return f
}

// open accepts the speaker and brings the session up.
func (f *feeder) open(capabilities ...packet.ParameterCapabilityInterface) error {
	conn, err := f.listener.Accept()
	if err != nil {
		return err
	}
	f.conn = conn
	open, err := packet.NewBGPOpenMessage(64512, 90, netip.MustParseAddr("192.0.2.254"),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(append(capabilities, packet.NewCapMultiProtocol(packet.RF_IPv4_UC)))})
	if err != nil {
		return err
	}
	if err := f.send(open); err != nil {
		return err
	}
	if err := f.send(packet.NewBGPKeepAliveMessage()); err != nil {
		return err
	}
	for { // until the speaker has confirmed
		kind, err := f.read()
		if err != nil {
			return err
		}
		switch kind {
		case packet.BGP_MSG_KEEPALIVE:
			go func() {
				for err == nil {
					_, err = f.read()
				}
			}()
			return nil
		case packet.BGP_MSG_NOTIFICATION:
			return fmt.Errorf("the speaker refuses")
		}
	}
}

func (f *feeder) send(m *packet.BGPMessage) error {
	b, err := m.Serialize()
	if err != nil {
		return err
	}
	_, err = f.conn.Write(b)
	return err
}

func (f *feeder) read() (kind byte, err error) {
	header := make([]byte, packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(f.conn, header); err != nil {
		return 0, err
	}
	_, err = io.CopyN(io.Discard, f.conn, int64(binary.BigEndian.Uint16(header[16:18]))-packet.BGP_HEADER_LENGTH)
	return header[18], err
}

// update announces prefixes with next hop 192.0.2.254 and an AS_PATH of ours and the given AS.
func update(t testing.TB, asn uint32, prefixes []netip.Prefix) []byte {
	t.Helper()
	next, err := packet.NewPathAttributeNextHop(netip.MustParseAddr("192.0.2.254"))
	if err != nil {
		t.Fatal(err)
	}
	attributes := []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(0),
		packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{packet.NewAsPathParam(2, []uint16{64512, uint16(asn)})}),
		next,
	}
	var out []byte
	for len(prefixes) > 0 {
		var list []packet.PathNLRI
		for _, p := range prefixes[:min(800, len(prefixes))] {
			nlri, err := packet.NewIPAddrPrefix(p)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, packet.PathNLRI{NLRI: nlri})
		}
		prefixes = prefixes[len(list):]
		b, err := packet.NewBGPUpdateMessage(nil, attributes, list).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// prefixes are count different ones.
func prefixes(count int) []netip.Prefix {
	list := make([]netip.Prefix, count)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}), 24)
	}
	return list
}
