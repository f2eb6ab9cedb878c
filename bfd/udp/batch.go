package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many packets one system call takes or gives.
const batchSize = 64

// batch is room for packets, as recvmmsg(2) and sendmmsg(2) want it.
type batch struct {
	headers [batchSize]header
	iovecs  [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet6 // an IPv4 one is shorter
	data    [batchSize][128]byte             // longer packets are cut: what follows is no concern of BFD's
	control [batchSize][128]byte
}

// header is struct mmsghdr.
type header struct {
	unix.Msghdr
	length uint32
}

// room makes all of the batch ready to receive.
func (b *batch) room() {
	for i := range b.headers {
		b.set(i, unix.SizeofSockaddrInet6, len(b.data[i]), len(b.control[i]))
	}
}

// set says how long the parts of a packet are.
func (b *batch) set(i, name, data, control int) {
	b.iovecs[i].Base = &b.data[i][0]
	b.iovecs[i].SetLen(data)
	h := &b.headers[i].Msghdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), uint32(name)
	h.Iov = &b.iovecs[i]
	h.SetIovlen(1)
	h.Control = &b.control[i][0]
	h.SetControllen(control)
}

// receive takes in as many packets as there are, up to batchSize.
func (b *batch) receive(fd int) (int, error) {
	return b.call(unix.SYS_RECVMMSG, fd, 0, batchSize)
}

// send sends the packets from first on, up to the first that cannot be sent. If that is the very first, it fails.
func (b *batch) send(fd, first, n int) (int, error) {
	return b.call(unix.SYS_SENDMMSG, fd, first, n)
}

func (b *batch) call(number uintptr, fd, first, n int) (int, error) {
	for {
		// A raw call: it never waits, and so the scheduler need not know.
		done, _, errno := unix.RawSyscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[first])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(done), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// received is the packet at i: what it says, who has sent it, and what the kernel tells about it.
func (b *batch) received(i int) ([]byte, netip.Addr, meta) {
	h := &b.headers[i]
	var from netip.Addr
	if name := &b.names[i]; name.Family == unix.AF_INET {
		from = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	} else {
		from = netip.AddrFrom16(name.Addr)
	}
	return b.data[i][:h.length], from, readMeta(b.control[i][:h.Controllen])
}

// put makes text the packet at i. A source address that is not valid is the kernel's choice.
func (b *batch) put(i int, to endpoint, from netip.Addr, text []byte) {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], to.hop.port())
	control := b.control[i][:]
	clear(control)
	cmsg := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	info := control[unix.CmsgLen(0):]
	var name, length int
	if to.hop.v6 {
		b.names[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: binary.NativeEndian.Uint16(port[:]), Addr: to.peer.As16()}
		name, length = unix.SizeofSockaddrInet6, unix.SizeofInet6Pktinfo
		cmsg.Level, cmsg.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
	} else {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&b.names[i])) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: binary.NativeEndian.Uint16(port[:]), Addr: to.peer.As4(),
		}
		name, length = unix.SizeofSockaddrInet4, unix.SizeofInet4Pktinfo
		cmsg.Level, cmsg.Type = unix.SOL_IP, unix.IP_PKTINFO
		info = info[4:] // behind the interface
	}
	switch {
	case from.Is4():
		a := from.As4()
		copy(info, a[:])
	case from.Is6():
		a := from.As16()
		copy(info, a[:])
	}
	cmsg.SetLen(unix.CmsgLen(length))
	b.set(i, name, copy(b.data[i][:], text), unix.CmsgSpace(length))
}
