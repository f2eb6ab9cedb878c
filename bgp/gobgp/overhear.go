package gobgp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// overhear finds out what a peer says that GoBGP does not tell: an OPEN with the wrong AS, a NOTIFICATION that comes before
// the session is up, and one whose sender closes while GoBGP still writes, which then no longer reads. A raw socket sees them
// from the time when overhear returns, for a minute. It needs CAP_NET_RAW; without, the reason stays as vague as GoBGP tells it.
func (s *Speaker) overhear(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.ear == nil {
		network := "ip6:tcp"
		if n.peer.Address.Is4() {
			network = "ip4:tcp"
		}
		// Connected, the socket gets packets from the peer alone.
		ear, err := net.DialIP(network, nil, &net.IPAddr{IP: n.peer.Address.AsSlice(), Zone: n.peer.Address.Zone()})
		if err != nil {
			s.log.Debug("listen to a BGP peer", "peer", n.peer.Name, "error", err)
			return
		}
		n.ear = ear
		go s.hear(n, ear, n.peer.ASN)
	}
	_ = n.ear.SetReadDeadline(time.Now().Add(time.Minute)) // a raw socket has deadlines
}

// hear reads until the ear's time is over.
func (s *Speaker) hear(n *session, ear *net.IPConn, asn uint32) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		n.ear = nil
		ear.Close()
	}()
	segment := make([]byte, 1<<16)
	for {
		size, _, err := ear.ReadFrom(segment)
		if err != nil {
			return
		}
		if reason, how := overheard(segment[:size], asn); reason != "" && !n.stays() {
			s.explain(n, reason, how)
		}
	}
}

// deafen ends what overhear has begun.
func (n *session) deafen() {
	if n.ear != nil {
		n.ear.Close()
	}
}

// stays says that a session is up and does not end: what seemed to end it was for another connection, or not from the peer.
func (n *session) stays() bool {
	for deadline := time.Now().Add(2 * time.Second); n.open.Load(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return true
		}
	}
	return false
}

// overheard reads a TCP segment from a peer: the reason for which no session is, if there is one in it.
func overheard(segment []byte, asn uint32) (string, known) {
	const tcpHeader = 20
	if len(segment) < tcpHeader {
		return "", guessed
	}
	data := segment[min(int(segment[12]>>4)*4, len(segment)):]
	marker := bytes.Repeat([]byte{0xff}, 16)
	for len(data) >= packet.BGP_HEADER_LENGTH && bytes.HasPrefix(data, marker) {
		size := int(binary.BigEndian.Uint16(data[16:18]))
		if size < packet.BGP_HEADER_LENGTH || size > len(data) {
			return "", guessed
		}
		message, err := packet.ParseBGPMessage(data[:size])
		if err != nil {
			return "", guessed
		}
		data = data[size:]
		switch body := message.Body.(type) {
		case *packet.BGPOpen:
			if says := openAS(body); says != asn {
				return fmt.Sprintf("peer says AS %d, configured %d", says, asn), stated
			}
		case *packet.BGPNotification:
			reason, how := peerClosed(int64(body.ErrorCode), int64(body.ErrorSubcode))
			return reason + communicated(body), how
		}
	}
	return "", guessed
}

// communicated is what somebody wrote when he shut the session down or reset it, RFC 9003: a length and UTF-8.
func communicated(n *packet.BGPNotification) string {
	const shutdown, reset = packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, packet.BGP_ERROR_SUB_ADMINISTRATIVE_RESET
	if n.ErrorCode != packet.BGP_ERROR_CEASE || n.ErrorSubcode != shutdown && n.ErrorSubcode != reset || len(n.Data) < 2 || n.Data[0] == 0 {
		return ""
	}
	return fmt.Sprintf(": %q", n.Data[1:min(len(n.Data), 1+int(n.Data[0]))])
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
