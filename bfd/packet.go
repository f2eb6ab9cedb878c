package bfd

import (
	"encoding/binary"
	"math"
	"time"
)

// PacketLen is the length of a control packet without authentication, in bytes.
const PacketLen = 24

// Packet is a BFD control packet (RFC 5880 section 4.1) of version 1, without authentication and not multipoint: Parse
// refuses what is different. Intervals have a resolution of one microsecond and end at 2^32-1 microseconds.
type Packet struct {
	Diag  Diag
	State State
	Poll  bool
	Final bool
	// ControlPlaneIndependent is the C bit: BFD of the sender goes on when its control plane restarts.
	ControlPlaneIndependent bool
	Demand                  bool
	DetectMult              uint8
	MyDiscriminator         uint32
	YourDiscriminator       uint32
	DesiredMinTx            time.Duration
	RequiredMinRx           time.Duration
	RequiredMinEchoRx       time.Duration
}

// Reason says why a received packet is discarded. It is an error, and the key of the drop counters.
type Reason string

// The reasons of RFC 5880 section 6.8.6, in the order of the checks there, and of RFC 5881 section 5 and RFC 5883 section 5.
const (
	Truncated             Reason = "truncated"              // shorter than its header, or than its own length says
	BadVersion            Reason = "bad version"            // not 1
	BadLength             Reason = "bad length"             // the length field is below the minimum
	ZeroDetectMult        Reason = "zero detect multiplier" // would be down at once
	Multipoint            Reason = "multipoint"             // RFC 8562, not for point-to-point sessions
	ZeroMyDiscriminator   Reason = "zero my discriminator"
	ZeroYourDiscriminator Reason = "zero your discriminator"    // allowed in Down and AdminDown only
	Authenticated         Reason = "authenticated"              // no session here uses authentication
	UnknownSession        Reason = "unknown session"            // none with this peer
	UnknownDiscriminator  Reason = "unknown your discriminator" // for instance of the session before a restart
	LowTTL                Reason = "low TTL"                    // the packet came from further away than the session allows
	TooManySessions       Reason = "too many sessions"          // more peers have opened one than can be held
)

func (r Reason) Error() string { return "BFD packet discarded: " + string(r) }

// The second byte of a packet: state in the upper two bits, then P, F, C, A, D, M.
const (
	bitPoll = 1 << (5 - iota)
	bitFinal
	bitControlPlaneIndependent
	bitAuthenticated
	bitDemand
	bitMultipoint
)

const (
	version       = 1
	minAuthLength = 26
)

// Parse reads a control packet from a UDP payload and makes all checks of RFC 5880 section 6.8.6 that need no session. The
// error is a Reason.
func Parse(b []byte) (Packet, error) {
	if len(b) < PacketLen {
		return Packet{}, Truncated
	}
	flags, length := b[1], int(b[3])
	p := Packet{
		Diag:                    Diag(b[0] & 0x1f),
		State:                   State(flags >> 6),
		Poll:                    flags&bitPoll != 0,
		Final:                   flags&bitFinal != 0,
		ControlPlaneIndependent: flags&bitControlPlaneIndependent != 0,
		Demand:                  flags&bitDemand != 0,
		DetectMult:              b[2],
		MyDiscriminator:         binary.BigEndian.Uint32(b[4:]),
		YourDiscriminator:       binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:            interval(b[12:]),
		RequiredMinRx:           interval(b[16:]),
		RequiredMinEchoRx:       interval(b[20:]),
	}
	authenticated := flags&bitAuthenticated != 0
	switch {
	case b[0]>>5 != version:
		return Packet{}, BadVersion
	case length < PacketLen, authenticated && length < minAuthLength:
		return Packet{}, BadLength
	case length > len(b):
		return Packet{}, Truncated
	case p.DetectMult == 0:
		return Packet{}, ZeroDetectMult
	case flags&bitMultipoint != 0:
		return Packet{}, Multipoint
	case p.MyDiscriminator == 0:
		return Packet{}, ZeroMyDiscriminator
	case p.YourDiscriminator == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, ZeroYourDiscriminator
	case authenticated:
		return Packet{}, Authenticated
	}
	return p, nil
}

// Append appends the packet in wire format to b.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range []struct {
		set bool
		bit byte
	}{
		{p.Poll, bitPoll},
		{p.Final, bitFinal},
		{p.ControlPlaneIndependent, bitControlPlaneIndependent},
		{p.Demand, bitDemand},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(p.Diag)&0x1f, flags, p.DetectMult, PacketLen)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	for _, d := range []time.Duration{p.DesiredMinTx, p.RequiredMinRx, p.RequiredMinEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(d.Microseconds(), math.MaxUint32)))
	}
	return b
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}
