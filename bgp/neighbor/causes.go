package neighbor

import (
	"fmt"
	"regexp"
)

// What is configured of each subject, in any of the dialects.
var (
	linesAS       = regexp.MustCompile(`remote-as|as-number|peer-as|listen-as|as-range|as-list| as \d|external;`)
	linesPassword = regexp.MustCompile(`password|authentication-key`)
	linesHops     = regexp.MustCompile(`multihop|ebgp-max-hop|ttl|direct;|max-hop`)
	linesTimers   = regexp.MustCompile(`timer|hold`)
	linesFamily   = regexp.MustCompile(`address-family|ipv[46]-family|ipv[46] \{|activate|enable$|family inet`)
	linesLimit    = regexp.MustCompile(`maximum-prefix|maximum-routes|route-limit|prefix-limit|receive limit`)
	linesBFD      = regexp.MustCompile(`bfd|^ profile|detect-multiplier|(transmit|receive)-interval`)
	linesAll      = regexp.MustCompile(`.`)
)

// always is a meaning that depends on nothing.
func always(text string) func(*Session, []string) string {
	return func(*Session, []string) string { return text }
}

// advice is what to do, whatever is known.
func advice(pairs ...string) func(*Session, []string) []Change {
	return func(*Session, []string) []Change {
		var list []Change
		for i := 0; i+1 < len(pairs); i += 2 {
			list = append(list, Change{pairs[i], pairs[i+1]})
		}
		return list
	}
}

// causes in the order in which they are looked for: what is stated before what is guessed.
var causes = []cause{
	{
		name: "AS", match: regexp.MustCompile(`peer says AS (\d+), configured (\d+)`),
		means: func(_ *Session, m []string) string {
			return fmt.Sprintf("The router says in its OPEN that it has AS %s. The BGPPeer expects AS %s.", m[1], m[2])
		},
		changes: func(s *Session, m []string) []Change {
			return []Change{
				{"cluster", fmt.Sprintf("If the router is right: spec.asn: %s in BGPPeer %s.", m[1], s.Peer)},
				{"router", fmt.Sprintf("If the cluster is right: this is another router, or it shows nodes another AS (local-as): it should be AS %s.", m[2])},
			}
		},
		lines: linesAS,
	},
	{
		name: "AS", match: regexp.MustCompile(`another AS than the configured one`),
		means:   always("The router says in its OPEN another AS than the one of the BGPPeer. Which one, the node says a moment later."),
		changes: advice("cluster", "Compare spec.asn of the BGPPeer with the AS of the router.", "router", "Is it the right router, and has it local-as?"),
		lines:   linesAS,
	},
	{
		name: "AS", match: regexp.MustCompile(`NOTIFICATION 2/2`),
		means: func(s *Session, _ []string) string {
			return fmt.Sprintf("The router does not expect %s at the address of this node.", s.as())
		},
		changes: func(s *Session, _ []string) []Change {
			return []Change{
				{"router", fmt.Sprintf("Let it expect %s from this neighbour.", s.as())},
				{"cluster", "Or give the node the AS that the router expects: annotation waymark.io/asn of the Node, or spec.asn of the BGPConfiguration for all nodes."},
			}
		},
		lines: linesAS,
	},
	{
		name: "RouterID", match: regexp.MustCompile(`NOTIFICATION 2/3|has our router ID`),
		means: func(s *Session, _ []string) string {
			text := "Router and node have the same router ID, or one of them has none that is valid. Each must be the only one with its own."
			if s.RouterID != "" {
				text += " The node's is " + s.RouterID + "."
			}
			return text
		},
		changes: func(s *Session, _ []string) []Change {
			list := []Change{
				{"router", "Give it a router ID of its own, best its loopback address."},
				{"cluster", "Or another one to the node: annotation waymark.io/router-id of the Node. Without it the node takes its first IPv4 address."},
			}
			if s.Twin != "" {
				list = append(list, s.twin())
			}
			return list
		},
		lines: regexp.MustCompile(`router.?id`),
	},
	{
		name: "HoldTime", match: regexp.MustCompile(`NOTIFICATION 2/6`),
		means: func(s *Session, _ []string) string {
			text := "The router wants a longer hold time than the node offers."
			if s.Wanted != nil {
				text = fmt.Sprintf("The node offers a hold time of %v, and the router has a minimum that is longer.", s.Wanted.Hold)
			}
			return text
		},
		changes: advice("cluster", "Raise spec.timers.hold of the BGPPeer to the router's minimum.", "router", "Or lower its minimum (FRR: bgp minimum-holdtime; IOS: the third number of neighbor timers; Junos: minimum-hold-time)."),
		lines:   linesTimers,
	},
	{
		name: "Family", match: regexp.MustCompile(`NOTIFICATION 2/7|NOTIFICATION 2/4|no (common )?famil`),
		means: func(s *Session, _ []string) string {
			return "Router and node have no address family in common, or the router insists on a capability that the node does not offer." + s.families()
		},
		changes: advice("router", "Activate the neighbour in the families that the node offers.", "cluster", "Or name in spec.families of the BGPPeer those that the router has."),
		lines:   linesFamily,
	},
	{
		name: "PrefixLimit", match: regexp.MustCompile(`NOTIFICATION 6/1\b`),
		means: func(s *Session, _ []string) string {
			return "The node has announced more prefixes than the router takes from it. The router stays closed until somebody clears the session, or until its restart time is over."
		},
		changes: advice("router", "Raise the limit for this neighbour, then clear the session.", "cluster", "If the node should not announce so much: `waymark routes` says what each node announces, and spec.export of the BGPPeer keeps prefixes from it."),
		lines:   linesLimit,
	},
	{
		name: "OurPrefixLimit", match: regexp.MustCompile(`the peer sent more than (\d+) (ipv[46]) prefixes`),
		means: func(_ *Session, m []string) string {
			return fmt.Sprintf("The router has sent more than the %s %s prefixes that the BGPPeer allows (spec.maxPrefixes). The node does not try again until the BGPPeer changes.", m[1], m[2])
		},
		changes: advice("router", "Send less: is it a whole table that nodes have no use for? `waymark routers config --send accepted` writes a filter of what nodes take.", "cluster", "Or raise spec.maxPrefixes of the BGPPeer: with the change the session begins anew."),
	},
	{
		name: "Shutdown", match: regexp.MustCompile(`NOTIFICATION 6/2\)(?:: "(.*)")?`),
		means: func(_ *Session, m []string) string {
			text := "Somebody has shut the session down on the router."
			if m[1] != "" {
				text += fmt.Sprintf(" They say why: %q.", m[1])
			}
			return text
		},
		changes: advice("router", "Enable the neighbour again when that is over. Nothing is wrong on the node's side."),
	},
	{
		name: "Removed", match: regexp.MustCompile(`NOTIFICATION 6/3`),
		means:   always("The router has this node as a neighbour no more."),
		changes: advice("router", "Enter the neighbour again, if it was not meant.", "cluster", "If it was: delete the BGPPeer, or leave the node out by its nodeSelector."),
		lines:   linesAll,
	},
	{
		name: "Rejected", match: regexp.MustCompile(`NOTIFICATION 6/5`),
		means:   always("The router takes the connection and closes it at once: it is not ready, waits after an earlier error, or has as many neighbours by range as it may."),
		changes: advice("router", "Look at its limit of dynamic neighbours (listen limit) and at the earlier error in its log. It goes over by itself after the router's waiting time."),
		lines:   regexp.MustCompile(`limit|maximum-peers|peer max`),
	},
	{
		name: "Collision", match: regexp.MustCompile(`NOTIFICATION 6/7|collided`),
		means:   always("Both sides had connected to each other at once, and one of the connections was closed. That is normal and goes over within seconds. If it stays, one of them holds a connection that the other has forgotten."),
		changes: advice("router", "If it stays for minutes: clear the session.", "cluster", "Or let one side alone connect: spec.passive of the BGPPeer."),
	},
	{
		name: "BFD", match: regexp.MustCompile(`NOTIFICATION 6/10|BFD: the path`),
		means: func(s *Session, _ []string) string {
			return "BFD has found the path between router and node dead, or is not up on both sides while one insists on it." + s.bfd()
		},
		changes: advice("router", "Is BFD on for this neighbour, with the same kind (single hop or multihop)? UDP 3784 (single hop) or 4784 (multihop) must pass both ways.",
			"cluster", "Is waymark-bfd running on the node? `waymark status` there says so. A firewall of the node must let UDP 3784 or 4784 in."),
		lines: linesBFD,
	},
	{
		name: "HoldTimer", match: regexp.MustCompile(`hold timer expired|NOTIFICATION 4/0`),
		means:   always("One side heard nothing from the other for the hold time: the path lost packets, or that side hung. Small packets that pass and large ones that do not (MTU) look the same; and so does TTL security on the router alone, if it is always so soon after the start."),
		changes: advice("router", "Look for errors and drops on the interface toward the node, and at its CPU.", "cluster", "Has the router TTL security for this neighbour? Then the BGPPeer needs spec.ttlSecurity, on both sides or on none.", "cluster", "From the node: ping the router with large packets that may not be fragmented, as `ping -M do -s 1472`."),
		lines:   linesTimers,
	},
	{
		name: "Reset", match: regexp.MustCompile(`NOTIFICATION 6/(0|4|6|8|9)\b`),
		means:   always("The router has ended the session on purpose: somebody reset it, its configuration changed, or it is out of resources. Mostly it comes back by itself; some routers give this for a failure of BFD too."),
		changes: advice("router", "If it does not come back, its log says why."),
	},
	{
		name: "NoRoute", match: regexp.MustCompile(`no route to host|network is unreachable|host is unreachable`),
		means: func(s *Session, _ []string) string {
			text := "The node has no way to the router: no route, nobody there answers ARP or neighbour discovery, or a router between them says that it cannot deliver."
			if s.Wanted != nil && s.Wanted.MultihopTTL == 0 && s.Wanted.TTLSecurity == 0 && !s.internal() {
				text += " The BGPPeer has no spec.multihop: packets of the node reach its own networks only, and a router between them answers just so."
			}
			return text
		},
		changes: advice("cluster", "On the node: `ip route get ROUTER` and `ping ROUTER`. Is spec.address of the BGPPeer right?",
			"cluster", "If the router is behind another one: spec.multihop of the BGPPeer, with a TTL that reaches.",
			"router", "Is the interface toward the node up, and does a router that is not on the node's network have multihop for this neighbour?"),
		lines: linesHops,
	},
	{
		name: "Refused", match: regexp.MustCompile(`connection refused`),
		means:   always("The router is there, and nothing listens at the port: BGP does not run, listens at another port or address, or (BIRD) there is no neighbour for this node, or it is disabled, as after a limit of prefixes, or waits after an error. A firewall that rejects looks the same."),
		changes: advice("router", "Does BGP run, with a neighbour for the address of this node? Is it disabled or waiting (BIRD: show protocols all)?", "cluster", "Is spec.address of the BGPPeer that of the router, and spec.port right?"),
		lines:   linesAll,
	},
	{
		name: "NoNeighbor", match: regexp.MustCompile(`accepts TCP and closes it again`),
		means:   always("The router listens, but takes no session from the address of this node: it has no such neighbour, has it shut down, sees the node with another address, or waits after an earlier error."),
		changes: advice("router", "Enter the node as a neighbour, by the address that its packets have. If it is there: is it shut down? Clear it, and look at its log.", "cluster", "On the node: `ip route get ROUTER` says with which source address it connects."),
		lines:   linesAll,
	},
	{
		name: "Silent", match: regexp.MustCompile(`no answer on TCP`),
		means:   func(s *Session, _ []string) string { return s.silence() },
		changes: func(s *Session, _ []string) []Change { return s.breakSilence() },
		lines:   regexp.MustCompile(linesPassword.String() + "|" + linesHops.String()),
	},
	{
		name: "Malformed", match: regexp.MustCompile(`malformed|refused the peer's OPEN|NOTIFICATION [13]/`),
		means:   always("One side has sent what the other cannot read or does not accept."),
		changes: advice("router", "Look for a newer version of its software, and turn off capabilities for this neighbour that are not needed.", "cluster", "Please report it, with the agent's log and the router's version."),
	},
	{
		name: "Broken", match: regexp.MustCompile(`connection broke`),
		means:   always("The connection went away without a word: the router was restarted or lost power, a firewall has forgotten the connection, or the router ended it and its reason was not heard."),
		changes: advice("router", "Its log says whether it ended the session itself.", "cluster", "If it happens again and again: is there a firewall or a load balancer between them?"),
	},
}
