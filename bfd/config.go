// Package bfd answers one question: is the path to a neighbour alive? It is the packet codec and the state machine of RFC
// 5880 in asynchronous mode, without echo, demand mode and authentication of our own. It is pure: time and packets are
// arguments; bfd/udp has the sockets and the timers.
package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Key says between which two addresses a session runs.
type Key struct {
	Peer      netip.Addr `json:"peer"`                // without a zone
	Local     netip.Addr `json:"local,omitzero"`      // source address; zero: the kernel's choice
	Interface string     `json:"interface,omitempty"` // send and receive here only; needed for a link-local IPv6 peer
	Multihop  bool       `json:"multihop,omitempty"`  // RFC 5883; otherwise RFC 5881, single hop
}

// Timing is what this side wishes. What comes out depends on the peer too, and is in Status.
type Timing struct {
	DesiredMinTx  time.Duration `json:"desiredMinTx"`  // how often we would like to send
	RequiredMinRx time.Duration `json:"requiredMinRx"` // how often we can receive
	DetectMult    uint8         `json:"detectMult"`    // the peer declares us dead after so many intervals; at least 1
}

// SessionConfig is a session as it should be.
type SessionConfig struct {
	Key
	Timing
	// MinTTL is the lowest TTL or hop limit of an accepted packet of a multihop session; 0: any. A single hop session
	// always accepts 255 alone (RFC 5082).
	MinTTL uint8 `json:"minTTL,omitempty"`
	// Gateway says that the session is between egress gateways or with one: it carries Config.PathDown.
	Gateway bool `json:"gateway,omitempty"`
}

// The bounds of both intervals.
const (
	MinInterval = 10 * time.Millisecond
	MaxInterval = time.Minute
)

// Validate says what is wrong with the session.
func (c SessionConfig) Validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	address := func(a netip.Addr) bool {
		return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast()
	}
	refuse(!address(c.Peer), "peer %s is not a unicast address without a zone", c.Peer)
	refuse(c.Local.IsValid() && !address(c.Local), "local %s is not a unicast address without a zone", c.Local)
	refuse(c.Local.IsValid() && c.Local.Is4() != c.Peer.Is4(), "local %s is of another family than the peer", c.Local)
	refuse(c.Peer.Is6() && c.Peer.IsLinkLocalUnicast() && c.Interface == "", "a link-local peer needs an interface")
	refuse(len(c.Interface) > 15, "interface name %q is longer than 15 bytes", c.Interface)
	refuse(c.MinTTL != 0 && !c.Multihop, "minTTL is for multihop sessions: single hop always demands 255")
	refuse(c.DetectMult == 0, "detectMult is 0")
	for name, d := range map[string]time.Duration{"desiredMinTx": c.DesiredMinTx, "requiredMinRx": c.RequiredMinRx} {
		refuse(d < MinInterval || d > MaxInterval, "%s %v is not between %v and %v", name, d, MinInterval, MaxInterval)
	}
	if len(errs) > 0 {
		return fmt.Errorf("BFD session with %s: %w", c.Peer, errors.Join(errs...))
	}
	return nil
}

// Config is everything that waymark-bfd is to hold.
type Config struct {
	Sessions []SessionConfig `json:"sessions"`
	// Passive is who may open a session without being named. None: nobody.
	Passive []netip.Prefix `json:"passive,omitempty"`
	// PathDown says on every passive session and on every session that is Gateway, while it stays Up, that what lies behind
	// this node is not to be used: diagnostic 6, Concatenated Path Down (RFC 5880, section 6.8.17).
	PathDown bool `json:"pathDown,omitempty"`
}

// Validate says what is wrong with the config. What is wrong once is wrong as a whole.
func (c Config) Validate() error {
	var errs []error
	seen := make(map[Key]bool, len(c.Sessions))
	for _, session := range c.Sessions {
		if seen[session.Key] {
			errs = append(errs, fmt.Errorf("BFD session with %s: wanted twice", session.Peer))
		}
		seen[session.Key] = true
		errs = append(errs, session.Validate())
	}
	for _, p := range c.Passive {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("passive BFD sessions: %s is not a prefix without host bits", p))
		}
	}
	return errors.Join(errs...)
}

// Status is a session as it is.
type Status struct {
	Key
	State       State     `json:"state"`
	Diag        Diag      `json:"diag"`
	RemoteState State     `json:"remoteState"` // what the peer said last; AdminDown: it is down by intent
	RemoteDiag  Diag      `json:"remoteDiag"`
	Since       time.Time `json:"since"` // of State
	// RemoteIndependent is the peer's C bit: its BFD does not end with its control plane (RFC 5882 section 4.3).
	RemoteIndependent bool          `json:"remoteIndependent"`
	Discriminator     uint32        `json:"discriminator"`
	RemoteDiscr       uint32        `json:"remoteDiscriminator"` // 0: not known
	TxInterval        time.Duration `json:"txInterval"`          // before jitter; 0: the peer wants no packets
	DetectionTime     time.Duration `json:"detectionTime"`       // 0: nothing heard from the peer yet
	// Failures counts how often the session left Up, but for AdminDown of either side: how often the path has failed.
	Failures   uint64            `json:"failures"`
	PacketsIn  uint64            `json:"packetsIn"`
	PacketsOut uint64            `json:"packetsOut"`
	Dropped    map[Reason]uint64 `json:"dropped,omitempty"` // received and discarded
	Problem    string            `json:"problem,omitempty"` // why nothing can be sent, for instance an address that is gone
}

// Report is all that is held, as it is.
type Report struct {
	Sessions []Status          `json:"sessions"` // those of Config.Sessions, sorted by peer
	Passive  PassiveStatus     `json:"passive,omitzero"`
	Dropped  map[Reason]uint64 `json:"dropped,omitempty"` // received packets that belong to no session
}

// PassiveStatus counts the sessions that peers have opened. There may be thousands.
type PassiveStatus struct {
	Up      int    `json:"up"`
	Total   int    `json:"total"`
	Problem string `json:"problem,omitempty"` // why no packets can be received
}

// AdminDownByPeer tells that the peer took the session down by intent: the path is not known to have failed.
func (s Status) AdminDownByPeer() bool { return s.RemoteState == AdminDown }
