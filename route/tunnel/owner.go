package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

// repeats is when a new owner says again that it is the owner: a frame may be lost, a switch not be ready.
var repeats = []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond}

// disown takes back the addresses that are not ours any more.
func (p *pass) disown() {
	for owned, a := range p.announced {
		if !p.want.proxies[owned] {
			a.stop()
			delete(p.announced, owned)
		}
	}
	for owned := range missing(p.have.proxies, p.want.proxies) {
		p.note(p.proxy(unix.RTM_DELNEIGH, 0, owned), "stop answering for %s on %s", owned.ip, owned.device)
	}
}

// own answers for the addresses that are ours now, and tells the neighbours.
func (p *pass) own() {
	if written, err := p.sysctls.hold(p.answering()); written > 0 || err != nil {
		p.note(err, "set sysctls to answer for addresses")
	}
	for owned := range missing(p.want.proxies, p.have.proxies) {
		err := p.proxy(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, owned)
		p.note(err, "answer for %s on %s", owned.ip, owned.device)
		if err != nil {
			continue
		}
		if a := p.announced[owned]; a != nil {
			a.stop()
		}
		at := p.host.links[owned.device]
		if err := announce(owned.ip, at); err != nil {
			p.errs = append(p.errs, err)
		}
		p.announced[owned] = announceAgain(owned.ip, at)
	}
}

// proxy adds or removes an entry, with our protocol number.
func (p *pass) proxy(kind, flags int, owned proxy) error {
	request := p.conn.request(kind, flags|unix.NLM_F_ACK)
	request.AddData(&netlink.Ndmsg{
		Family: uint8(familyOf(owned.ip)), Index: uint32(p.host.links[owned.device].index), Flags: netlink.NTF_PROXY, State: netlink.NUD_PERMANENT,
	})
	request.AddData(nl.NewRtAttr(unix.NDA_DST, owned.ip.AsSlice()))
	request.AddData(nl.NewRtAttr(attrProtocol, []byte{route.TunnelProtocol}))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// announcement repeats in the background that an address is ours.
type announcement struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// stop returns when nothing more will be sent.
func (a *announcement) stop() {
	a.cancel()
	<-a.done
}

func announceAgain(ip netip.Addr, at link) *announcement {
	ctx, cancel := context.WithCancel(context.Background())
	a := &announcement{cancel, make(chan struct{})}
	go func() {
		defer close(a.done)
		for _, pause := range repeats {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			_ = announce(ip, at) // the first one has told of an error
		}
	}()
	return a
}

// announce tells all on the link that the address is at this node now.
func announce(ip netip.Addr, at link) (err error) {
	if len(at.mac) != len(mac{}) {
		return fmt.Errorf("announce %s: the device is no Ethernet", ip)
	}
	if ip.Is4() {
		err = errors.Join(sendARP(arpRequest, ip, at), sendARP(arpReply, ip, at))
	} else {
		err = sendAdvertisement(ip, at)
	}
	if err != nil {
		return fmt.Errorf("announce %s to the network: %w", ip, err)
	}
	return nil
}

// The operations of RFC 826.
const (
	arpRequest = 1
	arpReply   = 2
)

// sendARP broadcasts an ARP announcement (RFC 5227, section 3), or the gratuitous reply that some hosts want instead.
func sendARP(operation uint16, ip netip.Addr, at link) error {
	b := []byte{0, 1, 8, 0, 6, 4, 0, byte(operation)} // Ethernet, IPv4, with addresses of 6 and 4 bytes
	address := ip.As4()
	b = append(append(b, at.mac...), address[:]...)
	target := make([]byte, len(mac{}))
	if operation == arpReply {
		copy(target, at.mac) // Linux takes a reply for gratuitous only so
	}
	b = append(append(b, target...), address[:]...)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 0xff}),
		Ifindex:  at.index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	})
}

// sendAdvertisement sends an unsolicited neighbour advertisement with the override flag to all nodes of the link (RFC 4861,
// section 7.2.6).
func sendAdvertisement(ip netip.Addr, at link) error {
	const override = 0x20
	b := []byte{136, 0, 0, 0, override, 0, 0, 0} // the kernel fills in the checksum
	b = append(b, ip.AsSlice()...)
	b = append(append(b, 2, 1), at.mac...) // target link-layer address, of 8 bytes
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, at.index),
	); err != nil {
		return err
	}
	allNodes := netip.MustParseAddr("ff02::1").As16()
	return unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Addr: allNodes, ZoneId: uint32(at.index)})
}
