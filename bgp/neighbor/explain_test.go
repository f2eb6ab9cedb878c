package neighbor

import (
	"net/netip"
	"strings"
	"testing"
)

// down is a session of the goldens' router that is down for a reason.
func down(reason string) *Session {
	p := dual()
	p.Nodes = p.Nodes[:1]
	return &Session{Node: "node-1", Peer: "rr1", Router: p.Router, State: "Active", Error: reason, ASN: 64513, RouterID: "10.132.2.11", Wanted: p}
}

func TestExplain(t *testing.T) {
	for reason, tt := range map[string]struct {
		cause string
		words string // in means and changes
		lines string // for FRR
	}{
		"peer says AS 64999, configured 64512":                                                  {"AS", "spec.asn: 64999 in BGPPeer rr1", "router bgp 64512\n neighbor waymark-rr1 remote-as 64513\n"},
		"peer says another AS than the configured one":                                          {"AS", "a moment later", "router bgp 64512\n neighbor waymark-rr1 remote-as 64513\n"},
		"peer closed: it expects another AS than ours (NOTIFICATION 2/2)":                       {"AS", "does not expect AS 64513", "router bgp 64512\n neighbor waymark-rr1 remote-as 64513\n"},
		"the peer has our router ID, or none":                                                   {"RouterID", "The node's is 10.132.2.11.", ""},
		"peer closed: it does not accept our router ID (NOTIFICATION 2/3)":                      {"RouterID", "waymark.io/router-id", ""},
		"peer closed: it does not accept our hold time (NOTIFICATION 2/6)":                      {"HoldTime", "hold time of 1m30s", "router bgp 64512\n neighbor waymark-rr1 timers 30 90\n"},
		"peer closed: it misses a capability of ours (NOTIFICATION 2/7)":                        {"Family", "offers IPv4 and IPv6.", " address-family ipv6 unicast\n  neighbor waymark-rr1 activate\n"},
		"peer closed: too many prefixes from us (NOTIFICATION 6/1)":                             {"PrefixLimit", "waymark routes", " address-family ipv4 unicast\n  neighbor waymark-rr1 maximum-prefix 10 restart 5\n"},
		"the peer sent more than 20000 ipv4 prefixes: closed until its configuration changes":   {"OurPrefixLimit", "more than the 20000 ipv4", ""},
		`peer closed: administratively shut down (NOTIFICATION 6/2): "at ten"`:                  {"Shutdown", `They say why: "at ten".`, ""},
		"peer closed: administratively shut down (NOTIFICATION 6/2)":                            {"Shutdown", "Somebody has shut", ""},
		"peer closed: it has deleted this neighbour (NOTIFICATION 6/3)":                         {"Removed", "no more", " neighbor 10.132.2.11 peer-group waymark-rr1\n"},
		"peer closed: it rejects the connection (NOTIFICATION 6/5)":                             {"Rejected", "listen limit", ""},
		"peer closed: two connections collided (NOTIFICATION 6/7)":                              {"Collision", "spec.passive", ""},
		"peer closed: its BFD session went down (NOTIFICATION 6/10)":                            {"BFD", "UDP 3784", " neighbor waymark-rr1 bfd profile waymark-rr1\n"},
		"BFD: the path to the peer failed":                                                      {"BFD", "waymark-bfd", " neighbor waymark-rr1 bfd\n"},
		"hold timer expired":                                                                    {"HoldTimer", "ping -M do", "timers 30 90"},
		"peer closed: its hold timer expired (NOTIFICATION 4/0)":                                {"HoldTimer", "spec.ttlSecurity", "timers 30 90"},
		"peer closed: it gives no reason (NOTIFICATION 6/0)":                                    {"Reset", "BFD too", ""},
		"peer closed: its configuration changed (NOTIFICATION 6/6)":                             {"Reset", "on purpose", ""},
		"TCP: no route to host":                                                                 {"NoRoute", "has no spec.multihop", ""},
		"TCP: network is unreachable":                                                           {"NoRoute", "ip route get", ""},
		"TCP: connection refused":                                                               {"Refused", "nothing listens", " neighbor 10.132.2.11 description node-1\n"},
		"the peer accepts TCP and closes it again: it does not know our address, or waits":      {"NoNeighbor", "takes no session", " neighbor 10.132.2.11 peer-group waymark-rr1\n"},
		"no answer on TCP: nobody there, filtered, or the MD5 passwords differ":                 {"Silent", `key "password" of Secret waymark-system/rr`, " neighbor waymark-rr1 password <PASSWORD>\n"},
		"malformed message from the peer: x":                                                    {"Malformed", "newer version", ""},
		"the connection broke":                                                                  {"Broken", "without a word", ""},
		"something that nobody has seen":                                                        {"Unknown", "none of the reasons", ""},
		"refused the peer's OPEN: code 2(open message error) subcode 5(authentication failure)": {"Malformed", "capabilities", ""},
	} {
		t.Run(reason, func(t *testing.T) {
			e, err := Explain(down(reason), "frr")
			if err != nil {
				t.Fatal(err)
			}
			text := e.Means
			for _, c := range e.Changes {
				text += "\n" + c.Side + ": " + c.Text
			}
			if e.Cause != tt.cause || !strings.Contains(text, tt.words) || !strings.Contains(e.Lines, tt.lines) || !strings.Contains(e.Seen, reason) {
				t.Errorf("%s: %s\n%s\nlines:\n%s", e.Cause, e.Seen, text, e.Lines)
			}
			for _, dialect := range append(Dialects(), "") {
				for _, s := range []*Session{down(reason), {Node: "n", Peer: "p", State: "Idle", Error: reason}} {
					if bare, err := Explain(s, dialect); err != nil || bare.Means == "" || bare.Cause != e.Cause || strings.Contains(bare.Means, "%!") {
						t.Errorf("%s: %+v, %v", dialect, bare, err)
					}
				}
			}
		})
	}
}

// TestLines: in every dialect there are lines about what the causes point to.
func TestLines(t *testing.T) {
	for _, dialect := range Dialects() {
		for _, reason := range []string{"peer says AS 1, configured 2", "NOTIFICATION 2/6", "NOTIFICATION 2/7", "NOTIFICATION 6/1", "NOTIFICATION 6/10", "no answer on TCP"} {
			e, err := Explain(down(reason), dialect)
			if err != nil || e.Lines == "" || strings.Count(e.Lines, "\n") > 14 {
				t.Errorf("%s, %s: %v:\n%s", dialect, reason, err, e.Lines)
			}
		}
	}
}

func TestExplainWithoutError(t *testing.T) {
	s := down("")
	for state, want := range map[string]string{"OpenSent": "Hops", "OpenConfirm": "Hops", "Active": "Unknown", "Waiting": "Waiting", "Established": "Up"} {
		s.State = state
		if e, err := Explain(s, ""); err != nil || e.Cause != want {
			t.Errorf("%s: %+v, %v", state, e, err)
		}
	}
	s.State = "Active"
	if e, _ := Explain(s, ""); !strings.Contains(e.Means, "Ask again") {
		t.Errorf("just begun: %+v", e)
	}
	s.State = "OpenSent"
	s.Wanted.MultihopTTL = 2
	if e, _ := Explain(s, "frr"); !strings.Contains(e.Means, "multihop with a TTL of 2") || !strings.Contains(e.Lines, "ebgp-multihop 2") {
		t.Errorf("%+v", e)
	}
}

// TestNoReason: what BIRD says when its BFD goes down is taken for that if BFD is down here too.
func TestNoReason(t *testing.T) {
	s := down("peer closed: it gives no reason (NOTIFICATION 6/0)")
	for bfd, want := range map[string]string{"": "Reset", "Up, detects in 900ms": "Reset", "Down": "BFD"} {
		s.BFD = bfd
		if e, err := Explain(s, ""); err != nil || e.Cause != want {
			t.Errorf("%q: %+v, %v", bfd, e, err)
		}
	}
}

// TestUp warns of what will end the session: limits, and a twin.
func TestUp(t *testing.T) {
	s := down("")
	s.State, s.Twin = "Established", "node-9"
	s.Exchanged = []Exchange{{Version: 4, Announced: 9, Received: 85, Most: 100}, {Version: 6, Announced: 2, Received: -1, Most: 100}}
	e, err := Explain(s, "")
	if err != nil || len(e.Changes) != 3 {
		t.Fatalf("%+v, %v", e, err)
	}
	for i, want := range []string{"85 of 100 IPv4 prefixes", "announces 9 IPv4 prefixes; a router configured from here takes 10", "node-9 has the router ID 10.132.2.11 too"} {
		if !strings.Contains(e.Changes[i].Text, want) {
			t.Errorf("%s, want %s", e.Changes[i].Text, want)
		}
	}
}

func TestSilence(t *testing.T) {
	s := down("no answer on TCP")
	for _, tt := range []struct {
		bfd  string
		ttl  uint8
		key  bool
		want string
	}{
		{"Up, detects in 900ms", 0, false, "the path is alive, since BFD is up"},
		{"Down", 1, true, "has a key (MD5) and TTL security"},
		{"", 1, false, "if the router has none, its packets come with too small a TTL"},
		{"", 0, false, "no key and no TTL security here"},
	} {
		s.BFD, s.Wanted.TTLSecurity = tt.bfd, tt.ttl
		if !tt.key {
			s.Wanted.Password = ""
		} else {
			s.Wanted.Password = "a key"
		}
		if e, err := Explain(s, ""); err != nil || !strings.Contains(strings.ToLower(e.Means), strings.ToLower(tt.want)) {
			t.Errorf("%+v: %+v, %v", tt, e, err)
		}
	}
	if e, _ := Explain(&Session{Node: "n", Peer: "p", Router: netip.Addr{}, State: "Idle", Error: "no answer on TCP"}, ""); !strings.Contains(e.Means, "all look just so") {
		t.Errorf("%+v", e)
	}
}
