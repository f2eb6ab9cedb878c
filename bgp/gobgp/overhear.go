package gobgp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// overhear finds out what a peer says that is not let in. GoBGP drops an OPEN with the wrong AS and a NOTIFICATION that comes
// before the session is up without telling what was in it; a raw socket sees the peer's next try. It needs CAP_NET_RAW;
// without, the reason stays as vague as GoBGP tells it.
func (s *Speaker) overhear(n *session) {
	s.mu.Lock()
	busy := n.overhearing
	n.overhearing = true
	peer := n.peer
	s.mu.Unlock()
	if busy {
		return
	}
	defer func() {
		s.mu.Lock()
		n.overhearing = false
		s.mu.Unlock()
	}()
	network := "ip6:tcp"
	if peer.Address.Is4() {
		network = "ip4:tcp"
	}
	// Connected, the socket gets packets from the peer alone.
	conn, err := net.DialIP(network, nil, &net.IPAddr{IP: peer.Address.AsSlice(), Zone: peer.Address.Zone()})
	if err != nil {
		s.log.Debug("listen to a BGP peer that is not let in", "peer", peer.Name, "error", err)
		return
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute)) // a raw socket has deadlines; a try more will start over
	segment := make([]byte, 1<<16)
	for {
		size, _, err := conn.ReadFrom(segment)
		if err != nil {
			return
		}
		if reason := overheard(segment[:size], peer.ASN); reason != "" {
			s.explain(n, reason, false)
			return
		}
	}
}

// overheard reads a TCP segment from a peer.
func overheard(segment []byte, asn uint32) string {
	const tcpHeader = 20
	if len(segment) < tcpHeader {
		return ""
	}
	data := segment[min(int(segment[12]>>4)*4, len(segment)):]
	marker := bytes.Repeat([]byte{0xff}, 16)
	for len(data) >= packet.BGP_HEADER_LENGTH && bytes.HasPrefix(data, marker) {
		size := int(binary.BigEndian.Uint16(data[16:18]))
		if size < packet.BGP_HEADER_LENGTH || size > len(data) {
			return ""
		}
		message, err := packet.ParseBGPMessage(data[:size])
		if err != nil {
			return ""
		}
		data = data[size:]
		switch body := message.Body.(type) {
		case *packet.BGPOpen:
			if says := openAS(body); says != asn {
				return fmt.Sprintf("peer says AS %d, configured %d", says, asn)
			}
		case *packet.BGPNotification:
			return "peer closed: " + notification(int64(body.ErrorCode), int64(body.ErrorSubcode))
		}
	}
	return ""
}

// openAS is the AS of an OPEN; one of more than 16 bits is in a capability (RFC 6793).
func openAS(open *packet.BGPOpen) uint32 {
	asn := uint32(open.MyAS)
	for _, parameter := range open.OptParams {
		capabilities, ok := parameter.(*packet.OptionParameterCapability)
		if !ok {
			continue
		}
		for _, c := range capabilities.Capability {
			if c, ok := c.(*packet.CapFourOctetASNumber); ok {
				asn = c.CapValue
			}
		}
	}
	return asn
}
