package neighbor

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Session is what a node says of one of its sessions, with what is known of both sides.
type Session struct {
	Node     string
	Peer     string     // name of the BGPPeer
	Router   netip.Addr // invalid: not known
	State    string     // of RFC 4271, section 8.2.2, or Waiting
	Error    string     // why it is down, in the agent's words
	ASN      uint32     // the node's; 0: not known
	RouterID string     // the node's; empty: not known
	Stale    string     // why what the node says may be true no more; empty: it is fresh
	// Twin is another node with the same router ID; empty: none is known.
	Twin string
	// Waits is why a session in the state Waiting has to wait.
	Waits string
	// BFD is the state of its session; empty: not wanted, or not known.
	BFD string // begins with Up if it is
	// Wanted is the router's side of it as the objects have it; nil: not known.
	Wanted *Peering
	// Exchanged is what goes over a session that is up, by family.
	Exchanged []Exchange
}

// Exchange is what goes over a session in one family. A negative count is not known.
type Exchange struct {
	Version   int `json:"version"`
	Announced int `json:"announced"` // prefixes from the node to the router
	Received  int `json:"received"`  // prefixes from the router
	Most      int `json:"most"`      // that the node takes (spec.maxPrefixes); 0: no limit
}

// Explanation says in plain words why a session does not come up, or what it carries.
type Explanation struct {
	Cause   string   `json:"cause"`   // one word, as AS, MD5 or PrefixLimit; Up: there is nothing to mend
	Seen    string   `json:"seen"`    // what the node has seen
	Means   string   `json:"means"`   // what that means
	Changes []Change `json:"changes"` // any one of them may be enough
	Lines   string   `json:"lines,omitempty"`
}

// Change is what to do about it.
type Change struct {
	Side string `json:"side"` // router, or cluster: its objects and nodes
	Text string `json:"text"`
}

// cause is one reason for which sessions do not come up.
type cause struct {
	name  string
	match *regexp.Regexp // in what the agent says
	// means and changes are told the groups of match.
	means   func(s *Session, m []string) string
	changes func(s *Session, m []string) []Change
	lines   *regexp.Regexp // of the router's configuration that matter for it
}

// Explain says why a session is not up, or what it carries if it is. With a dialect the explanation has the lines of the router's
// configuration that matter, as they should be. The explanation is good also with an error, which is about these lines.
func Explain(s *Session, dialect string) (Explanation, error) {
	e := Explanation{Cause: "Unknown", Seen: s.seen()}
	switch {
	case s.State == "Established":
		e.Cause, e.Means, e.Changes = "Up", "The session is up.", s.near()
		return e, nil
	case s.State == "Waiting":
		e.Cause, e.Means = "Waiting", "The node does not try: it has not all that it needs for the session."
		e.Changes = []Change{{"cluster", "Mend what it says, then the session begins by itself."}}
		return e, nil
	}
	c := s.cause()
	if c == nil && s.Error == "" {
		e.Means = "Nothing has failed yet: the node has only begun, or waits for the router to begin. Ask again in some seconds; if it stays so, look into the router's log."
		return e, nil
	}
	if c == nil {
		e.Means = "That is none of the reasons that are known here. The router's log says more at the same time."
		return e, nil
	}
	m := c.match.FindStringSubmatch(s.Error)
	e.Cause, e.Means, e.Changes = c.name, c.means(s, m), c.changes(s, m)
	if dialect == "" || s.Wanted == nil || c.lines == nil {
		return e, nil
	}
	text, err := Render(dialect, s.Wanted)
	if err != nil {
		return e, err
	}
	e.Lines = extract(text, c.lines)
	return e, nil
}

// cause is what the session's trouble is; nil: not known.
func (s *Session) cause() *cause {
	if s.Error == "" && (s.State == "OpenSent" || s.State == "OpenConfirm") {
		return &unheard
	}
	if s.pathDown() && noReason.MatchString(s.Error) {
		return &causes[slices.IndexFunc(causes, func(c cause) bool { return c.name == "BFD" })]
	}
	i := slices.IndexFunc(causes, func(c cause) bool { return c.match.MatchString(s.Error) })
	if i < 0 {
		return nil
	}
	return &causes[i]
}

// noReason is what BIRD sends when its BFD goes down, among others.
var noReason = regexp.MustCompile(`NOTIFICATION 6/0\b`)

// pathDown says that BFD is wanted and known not to be up.
func (s *Session) pathDown() bool { return s.BFD != "" && !strings.HasPrefix(s.BFD, "Up") }

// seen is what the node has seen.
func (s *Session) seen() string {
	text := ""
	switch {
	case s.State == "Established":
		text = fmt.Sprintf("%s has its session with %s.", s.Node, s.router())
	case s.State == "Waiting":
		text = fmt.Sprintf("%s has no session with BGPPeer %s yet: %s", s.Node, s.Peer, or(s.Waits, "it does not say why"))
	case s.Error == "":
		text = fmt.Sprintf("%s has no session with %s (%s), and does not say why yet.", s.Node, s.router(), s.State)
	default:
		text = fmt.Sprintf("%s has no session with %s (%s): %s", s.Node, s.router(), s.State, s.Error)
		if s.BFD != "" {
			text += ". BFD to it is " + s.BFD
		}
	}
	if s.Stale != "" {
		text += "\nThat was its last word: " + s.Stale + "."
	}
	return text
}

func (s *Session) router() string {
	if s.Router.IsValid() {
		return fmt.Sprintf("%s (BGPPeer %s)", s.Router, s.Peer)
	}
	return "BGPPeer " + s.Peer
}

// near warns of what will end the session, or does harm meanwhile.
func (s *Session) near() []Change {
	var changes []Change
	for _, x := range s.Exchanged {
		if x.Most > 0 && x.Received*5 >= x.Most*4 {
			changes = append(changes, Change{"cluster", fmt.Sprintf("%d of %d IPv%d prefixes that the node takes are there (BGPPeer spec.maxPrefixes): with one too many it ends the session.", x.Received, x.Most, x.Version)})
		}
		if limit := s.limit(x.Version); limit > 0 && x.Announced*5 >= limit*4 {
			changes = append(changes, Change{"router", fmt.Sprintf("The node announces %d IPv%d prefixes; a router configured from here takes %d: configure it anew.", x.Announced, x.Version, limit)})
		}
	}
	if s.pathDown() {
		changes = append(changes, Change{"router", "BFD is wanted and not up (" + s.BFD + "): without it a dead node is noticed only after the hold time. Is it on for this neighbour, and does UDP 3784 (single hop) or 4784 (multihop) pass?"})
	}
	if s.Twin != "" {
		changes = append(changes, s.twin())
	}
	return changes
}

// twin is said of a node with the same router ID. Between different AS numbers it is allowed (RFC 6286), but routers tell apart by it
// which of two routes is whose.
func (s *Session) twin() Change {
	return Change{"cluster", fmt.Sprintf("Node %s has the router ID %s too: give one of the two another one (annotation waymark.io/router-id).", s.Twin, s.RouterID)}
}

// limit is what the router should take of a family; 0: not known.
func (s *Session) limit(version int) int {
	if s.Wanted != nil {
		for _, f := range s.Wanted.Families {
			if f.Version == version {
				return f.Limit
			}
		}
	}
	return 0
}

// sections are lines that others of a configuration stand below.
var sections = regexp.MustCompile(`^(router bgp|bgp \d|template bgp|protocol bgp|group )|^ +(address-family|ipv[46]-family|template peer|ipv[46] \{)`)

// extract leaves of a configuration the lines that match, with those that they stand below.
func extract(text string, lines *regexp.Regexp) string {
	var kept, above []string
	depth := func(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
	for line := range strings.Lines(text) {
		if begins := strings.TrimSpace(line); strings.HasPrefix(begins, "!") || strings.HasPrefix(begins, "#") {
			continue
		}
		for len(above) > 0 && depth(above[len(above)-1]) >= depth(line) {
			above = above[:len(above)-1]
		}
		match := lines.MatchString(line)
		if match {
			kept = append(kept, above...)
			above = nil
			kept = append(kept, line)
		} else if sections.MatchString(line) {
			above = append(above, line)
		}
	}
	return strings.Join(kept, "")
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
