package neighbor

import (
	"fmt"
	"regexp"
)

// unheard is a session whose connection stands, and over which one side hears nothing. A router that connects begins with a TTL that
// is large enough, and so does the answer of the node's kernel; what the node then writes has the TTL of the session.
var unheard = cause{
	name: "Hops", match: regexp.MustCompile(``),
	means: func(s *Session, _ []string) string {
		text := "The TCP connection stands, but one side does not hear what the other says over it. That is so for a moment at each start; if it stays, packets are dropped for their TTL."
		switch w := s.Wanted; {
		case w == nil:
		case w.TTLSecurity > 0:
			text += " The BGPPeer has TTL security: the node drops all that comes with too small a TTL."
		case w.MultihopTTL > 0:
			text += fmt.Sprintf(" The BGPPeer has multihop with a TTL of %d: packets of the node get no farther.", w.MultihopTTL)
		case !s.internal():
			text += " The BGPPeer has no spec.multihop: packets of the node reach its own networks only, and a router with TTL security drops them too."
		}
		return text
	},
	changes: func(s *Session, _ []string) []Change { return append(s.hops(), Change{"router", mtu}) },
	lines:   linesHops,
}

const mtu = "If hops are right: do large packets pass? An OPEN or a table does not fit through a path with a smaller MTU than both sides believe."

// as is the node's AS in words.
func (s *Session) as() string {
	if s.ASN == 0 {
		return "the node's AS"
	}
	return fmt.Sprintf("AS %d", s.ASN)
}

func (s *Session) internal() bool { return s.Wanted != nil && s.Wanted.ASN == s.ASN }

// families says what the node offers.
func (s *Session) families() string {
	if s.Wanted == nil {
		return ""
	}
	text := " The node offers"
	for i, f := range s.Wanted.Families {
		if i > 0 {
			text += " and"
		}
		text += fmt.Sprintf(" IPv%d", f.Version)
	}
	return text + "."
}

// bfd says how BFD is.
func (s *Session) bfd() string {
	if s.BFD == "" {
		return ""
	}
	return " On the node it is " + s.BFD + "."
}

// silence says what it means that nobody answers a SYN. A wrong MD5 digest and a TTL that is too small are dropped without a word
// (RFC 2385, section 2; RFC 5082, section 3), as by a firewall.
func (s *Session) silence() string {
	text := "The router does not answer at all."
	switch {
	case s.BFD != "" && !s.pathDown():
		text += " The path is alive, since BFD is up. So the router, or a firewall, drops the packets of BGP without a word."
	case s.BFD != "":
		text += " BFD to it is " + s.BFD + " too, so it may be off, or its network cut."
	}
	switch {
	case s.Wanted == nil:
		text += " A key that is missing on one side or differs, TTL security, and a firewall all look just so."
	case s.Wanted.Password != "" && s.Wanted.TTLSecurity > 0:
		text += " The session has a key (MD5) and TTL security: if either is missing or differs on the router, it looks just so."
	case s.Wanted.Password != "":
		text += " The session has a key (MD5): if the router has none for this neighbour or another one, it looks just so."
	case s.Wanted.TTLSecurity > 0:
		text += " The session has TTL security: if the router has none, its packets come with too small a TTL and are dropped, and it looks just so."
	default:
		text += " The session has no key and no TTL security here: if the router has either for this neighbour, it looks just so."
	}
	return text
}

// breakSilence says what to do, the likeliest first.
func (s *Session) breakSilence() []Change {
	var list []Change
	w := s.Wanted
	switch {
	case w == nil:
	case w.Password != "":
		list = append(list, Change{"router", "Enter the key of the Secret for this neighbour. Its log or counters name wrong MD5 digests (FRR on Linux: nstat TcpExtTCPMD5Failure, TcpExtTCPMD5NotFound)."},
			Change{"cluster", "Is it " + w.Password + ", without a line break at its end?"})
	default:
		list = append(list, Change{"cluster", "Has the router a key for this neighbour? Then the BGPPeer needs spec.passwordSecret."})
	}
	list = append(list, s.hops()...)
	return append(list, Change{"router", "Is the router up, and does a firewall or an ACL let TCP 179 from the node through?"})
}

// hops says what to do about TTLs.
func (s *Session) hops() []Change {
	w := s.Wanted
	if w != nil && w.TTLSecurity > 0 {
		return []Change{{"router", fmt.Sprintf("Turn TTL security on for this neighbour, with at least %d hops.", w.TTLSecurity)}}
	}
	list := []Change{{"cluster", "Has the router TTL security for this neighbour? Then the BGPPeer needs spec.ttlSecurity, on both sides or on none."}}
	switch {
	case w == nil || s.internal():
	case w.MultihopTTL == 0:
		list = append(list, Change{"cluster", "Is the router behind another one? Then the BGPPeer needs spec.multihop, with a TTL that reaches, and the router multihop for this neighbour."})
	default:
		list = append(list, Change{"cluster", fmt.Sprintf("Is the router not farther away than spec.multihop.ttl, %d?", w.MultihopTTL)},
			Change{"router", "Has it multihop for this neighbour? Without, its answers do not get here."})
	}
	return list
}
