package dial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

// Listener hears the ICMP errors that come to this host. The kernel tells a connection neither who sent one nor all that it
// says, and keeps most of them to itself while a connection is opened. It needs CAP_NET_RAW.
type Listener struct {
	conns []net.PacketConn
	lock  sync.Mutex
	heard map[netip.AddrPort]message // by the destination that it is about
}

// message is an ICMP error.
type message struct {
	from  netip.Addr
	reach registry.Reach
	text  string

	expired bool // the packet had no hops left
}

const mostHeard = 20_000 // strangers may send as many as they like

// Listen begins to listen. What it cannot hear, for want of rights, it does not know later.
func Listen() (*Listener, error) {
	l := &Listener{heard: map[netip.AddrPort]message{}}
	var errs []error
	for _, version := range []struct {
		network string
		read    func([]byte) (netip.AddrPort, message, bool)
	}{{"ip4:icmp", read4}, {"ip6:ipv6-icmp", read6}} {
		conn, err := net.ListenPacket(version.network, "")
		if err != nil {
			errs = append(errs, fmt.Errorf("listen to ICMP errors: %w", err))
			continue
		}
		l.conns = append(l.conns, conn)
		go l.listen(conn, version.read)
	}
	if len(l.conns) == 0 {
		return nil, errors.Join(errs...)
	}
	return l, nil
}

// Close ends it.
func (l *Listener) Close() {
	for _, c := range l.conns {
		_ = c.Close()
	}
}

func (l *Listener) listen(conn net.PacketConn, read func([]byte) (netip.AddrPort, message, bool)) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		about, m, ok := read(buffer[:n])
		ip, isIP := from.(*net.IPAddr)
		if !ok || !isIP {
			continue
		}
		addr, _ := netip.AddrFromSlice(ip.IP)
		m.from = addr.Unmap()
		l.lock.Lock()
		if len(l.heard) < mostHeard {
			l.heard[about] = m
		}
		l.lock.Unlock()
	}
}

// explain puts into an error what was heard of its destination.
func (l *Listener) explain(e *registry.DialError, host string, port uint16) {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return
	}
	about := netip.AddrPortFrom(addr.WithZone(""), port)
	m, ok := l.about(about)
	if !ok && e.Reach != registry.NoAnswer {
		time.Sleep(lag)
		m, ok = l.about(about)
	}
	if ok {
		e.Reach, e.From, e.Err = m.reach, m.from, errors.New(m.text)
	}
}

// lag is how long a message may be on its way from the kernel to us when the connection has failed by it already.
const lag = 10 * time.Millisecond

func (l *Listener) about(destination netip.AddrPort) (message, bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	m, ok := l.heard[destination]
	return m, ok
}

func (l *Listener) forget(destination netip.AddrPort) {
	l.lock.Lock()
	defer l.lock.Unlock()
	delete(l.heard, destination)
}

const tcp = 6

var (
	// RFC 792, RFC 1812 5.2.7.1. Others are no reason that a connection cannot be opened.
	unreachable4 = map[byte]message{
		0: {reach: registry.NoRoute, text: "no route to the network"}, 1: {reach: registry.NoRoute, text: "the host does not answer to ARP, or there is no route"},
		3: {reach: registry.Prohibited, text: "port unreachable"}, // TCP has RST for it: a filter has rejected this
		6: {reach: registry.NoRoute, text: "the network is unknown"}, 7: {reach: registry.NoRoute, text: "the host is unknown"},
		9: {reach: registry.Prohibited, text: "the network is prohibited"}, 10: {reach: registry.Prohibited, text: "the host is prohibited"},
		13: {reach: registry.Prohibited, text: "administratively prohibited"},
	}
	// RFC 4443, 3.1.
	unreachable6 = map[byte]message{
		0: {reach: registry.NoRoute, text: "no route to the network"}, 1: {reach: registry.Prohibited, text: "administratively prohibited"},
		3: {reach: registry.NoRoute, text: "the host does not answer to neighbour solicitations"}, 4: {reach: registry.Prohibited, text: "port unreachable"},
		5: {reach: registry.Prohibited, text: "the source address is prohibited"}, 6: {reach: registry.NoRoute, text: "a route rejects it"},
	}
	loop = message{reach: registry.NoRoute, text: "packets go round in circles, or the way is too long", expired: true}
)

// read4 takes an ICMP message, without its IP header.
func read4(p []byte) (about netip.AddrPort, m message, ok bool) {
	const quoted = 8
	if len(p) < quoted+20 {
		return about, m, false
	}
	switch p[0] {
	case 3:
		m, ok = unreachable4[p[1]]
	case 11:
		m, ok = loop, p[1] == 0
	}
	inner := p[quoted:]
	header := int(inner[0]&0x0f) * 4
	if !ok || inner[0]>>4 != 4 || inner[9] != tcp || len(inner) < header+4 {
		return about, m, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(inner[16:20])), binary.BigEndian.Uint16(inner[header+2:])), m, true
}

func read6(p []byte) (about netip.AddrPort, m message, ok bool) {
	const quoted, header = 8, 40
	if len(p) < quoted+header+4 {
		return about, m, false
	}
	switch p[0] {
	case 1:
		m, ok = unreachable6[p[1]]
	case 3:
		m, ok = loop, p[1] == 0
	}
	inner := p[quoted:]
	if !ok || inner[0]>>4 != 6 || inner[6] != tcp {
		return about, m, false
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(inner[24:40])), binary.BigEndian.Uint16(inner[header+2:])), m, true
}
