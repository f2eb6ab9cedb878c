// Package bgp decides what this node tells its BGP peers and what it takes from them. It is pure: the desired state of
// the speaker and the filter logic live here, the protocol itself in bgp/gobgp.
package bgp

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is the whole desired state of the speaker. Applying it twice changes nothing.
type Config struct {
	ASN             uint32     // 1..4294967295
	RouterID        netip.Addr // an IPv4 address, RFC 6286
	ListenPort      uint16     // 0: do not listen, only connect
	GracefulRestart GracefulRestart
	// Accept filters what is learned from any peer, after the peer's own import filter. What no rule matches is refused.
	Accept []FilterRule
	Peers  []Peer
	// Announce is what this node originates. Learned routes are never passed on: a node is not a transit router.
	Announce []Announcement
}

// GracefulRestart is RFC 4724 on our side.
type GracefulRestart struct {
	Enabled     bool
	RestartTime time.Duration // whole seconds, at most 4095 s: how long peers keep our routes without us
	// Restarting says that an earlier agent on this boot left its routes in the kernel: forwarding was preserved, so the
	// capability carries the R and F bits. Read once, when the speaker starts.
	Restarting bool
}

// Peer is one session as it should be.
type Peer struct {
	Name        string // of the BGPPeer object
	Address     netip.Addr
	ASN         uint32   // equal to Config.ASN: iBGP
	Port        uint16   // 0: 179
	Password    Password // RFC 2385; empty: none
	MultihopTTL uint8    // eBGP over more than one hop; 0: directly connected. iBGP may cross routers anyway
	TTLSecurity uint8    // RFC 5082: at most so many hops away; 0: off. Excludes MultihopTTL
	Timers      Timers
	Families    []Family
	Import      []FilterRule // what no rule matches is accepted (and goes on to Config.Accept)
	Export      []FilterRule // what no rule matches is announced
	MaxPrefixes uint32       // per family; 0: no limit
	AllowOwnAS  uint8        // how often our own ASN may stand in a received AS_PATH
	Passive     bool         // wait for the peer to connect
	Attributes  Attributes   // set on everything announced to this peer
	// PathFailures counts how often BFD has seen the path to this peer fail. When it grows, the session is reset and
	// its routes go at once, graceful restart or not (RFC 5882, section 4.3.2).
	PathFailures uint64
}

// Timers of a session, RFC 4271 section 10, in whole seconds. 0 is the default of each.
type Timers struct {
	Hold         time.Duration // at least 3 s; default 90 s. The smaller one of both sides counts
	Keepalive    time.Duration // default a third of Hold
	ConnectRetry time.Duration // at least 2 s; default 2 s
}

// Attributes that an export to one peer carries besides the mandatory ones.
type Attributes struct {
	MED              *uint32
	LocalPreference  *uint32 // iBGP only, at least 1: RFC 4271 5.1.5 forbids it to eBGP peers, and GoBGP cannot set 0
	Prepend          uint8   // eBGP only: how many more times our ASN stands in the AS_PATH
	Communities      []Community
	LargeCommunities []LargeCommunity
}

// Announcement is a prefix this node originates to all peers, subject to each peer's Export filter.
type Announcement struct {
	Prefix      netip.Prefix
	Communities []Community
	// Rank among the nodes that announce the same prefix: 0 is the first choice, each higher one a worse one. See
	// Attributes.Ranked.
	Rank uint8
}

// Family is an address family, always unicast.
type Family uint8

// The families of RFC 4760 that we speak.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("ipv%d", uint8(f)) }

// MarshalText writes "ipv4" or "ipv6".
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (f *Family) UnmarshalText(text []byte) error {
	for _, family := range []Family{IPv4, IPv6} {
		if family.String() == string(text) {
			*f = family
			return nil
		}
	}
	return fmt.Errorf("family %q, want ipv4 or ipv6", text)
}

// FamilyOf returns the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// Password is a TCP MD5 key. It cannot be printed; Reveal is the only way to the text.
type Password struct{ text string }

// NewPassword wraps a key.
func NewPassword(text string) Password { return Password{text} }

// Reveal returns the key itself.
func (p Password) Reveal() string { return p.text }

// String implements fmt.Stringer with a text that shows nothing but whether a key is set.
func (p Password) String() string {
	if p.text == "" {
		return ""
	}
	return "***"
}

// GoString keeps %#v from printing the key.
func (p Password) GoString() string { return fmt.Sprintf("bgp.Password(%q)", p.String()) }

// MarshalText keeps encoders from printing the key.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
