package e2e

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestBrokenMessages: a peer sends hundreds of broken OPEN and UPDATE messages. The agent lives, the session with the
// router and what was learned from it stay, and a broken route never gets into the kernel.
func TestBrokenMessages(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t)
	bad := nettest.New(t, "bad")
	nettest.Join(t, l.Node, "eth1", []string{"198.19.0.1/24"}, bad, "eth0", nil)
	var locals, peers []string
	for i := range 40 {
		local := fmt.Sprintf("198.19.0.%d", 10+i)
		locals = append(locals, local)
		bad.IP(t, "addr add "+local+"/24 dev eth0")
		peers = append(peers, fmt.Sprintf(`
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: bad%d}
spec: {address: %s, asn: %d, passive: true, timers: {connectRetry: 1s}}
`, i, local, rawAS))
	}
	l.Write(t, "bad.yaml", strings.Join(peers, "---"))
	l.Accept(t, "{prefix: 192.0.2.0/24}, {prefix: 203.0.0.0/16, minLength: 24}, {prefix: 100.64.0.0/10, minLength: 24}")
	begin := time.Now()
	agent := l.Agent(t)
	nettest.Eventually(t, 20*time.Second, func() error { return routeAt(l.Node, "192.0.2.0/24", true) })
	monitor := l.Node.Start(t, "ip", "monitor", "route")

	handmade := sectionsOfRFC7606()
	messages := append(handmade, mutations(520)...)
	input, err := json.Marshal(messages)
	if err != nil {
		t.Fatal(err)
	}
	r := sendRaw(t, bad, string(input), append([]string{nodeAddrOnBadSide}, locals...))
	t.Logf("%d messages sent, %d ended the session", r.Sent, len(r.Ended))
	if r.Sent < 500 {
		t.Errorf("only %d messages were sent: %v", r.Sent, r.Problems)
	}

	select {
	case <-agent.Done():
		t.Fatal("the agent has died")
	default:
	}
	s, err := l.Status(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Peers {
		if p.Name == "router" && (p.State != bgp.Established || p.Flaps != 0 || p.Since.Before(begin)) {
			t.Errorf("session with the router: %+v", p)
		}
	}
	if strings.Contains(monitor.Output(), "Deleted 192.0.2.0/24") {
		t.Errorf("the good route was taken away:\n%s", monitor.Output())
	}
	if err := routeAt(l.Node, "192.0.2.0/24", true); err != nil {
		t.Error(err)
	}
	for i, m := range handmade {
		if m.Name != tolerated && strings.Contains(monitor.Output(), brokenPrefix(i).String()+"/24") {
			t.Errorf("%s: the route got into the kernel", m.Name)
		}
	}
	// The peer of the broken messages is still heard when it sends a good one.
	good := update(attributes(origin, asPath, nextHop), nlri(net.IPv4(100, 127, 255, 0)))
	input, err = json.Marshal([]rawMessage{{Name: "good", Bytes: hex.EncodeToString(good)}})
	if err != nil {
		t.Fatal(err)
	}
	if r := sendRaw(t, bad, string(input), []string{nodeAddrOnBadSide, locals[0]}); r.Sent != 1 || len(r.Ended) != 0 {
		t.Errorf("a good message after the bad ones: %+v", r)
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(monitor.Output(), "100.127.255.0/24") {
			return fmt.Errorf("a good route from a bad peer was not installed:\n%s", monitor.Output())
		}
		return nil
	})
}

// tolerated is a breach that GoBGP v4.8.0 takes for what it can only mean: an empty list is no communities.
const tolerated = "7.8 COMMUNITIES of length 0"

const nodeAddrOnBadSide = "198.19.0.1"

func sendRaw(t *testing.T, ns nettest.NS, input string, args []string) (r rawReport) {
	t.Helper()
	out := playWith(t, ns, input, roleRawPeer, args...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// Path attributes of a good UPDATE, as flags, type, length and value.
var (
	origin  = []byte{0x40, 1, 1, 0}
	asPath  = []byte{0x40, 2, 6, 2, 1, 0, 0, rawAS >> 8, rawAS & 0xff}
	nextHop = []byte{0x40, 3, 4, 198, 19, 0, 200}
)

func attributes(list ...[]byte) []byte { return slices.Concat(list...) }

func nlri(ip net.IP) []byte { return append([]byte{24}, ip.To4()[:3]...) }

// update is an UPDATE without withdrawn routes, RFC 4271 section 4.3.
func update(attributes, nlri []byte) []byte {
	body := []byte{0, 0, byte(len(attributes) >> 8), byte(len(attributes))}
	return bgpMessage(typeUpdate, slices.Concat(body, attributes, nlri))
}

// brokenPrefix is the network of length 24 that the i-th hand-made message is about.
func brokenPrefix(i int) net.IP { return net.IPv4(203, 0, byte(i), 0) }

// sectionsOfRFC7606 are UPDATEs, each broken in one way that the RFC names, each for its brokenPrefix. None may install it.
func sectionsOfRFC7606() []rawMessage {
	var messages []rawMessage
	prefix := nlri(brokenPrefix(0))
	add := func(name string, message []byte) {
		messages = append(messages, rawMessage{Name: name, Bytes: hex.EncodeToString(message)})
		prefix = nlri(brokenPrefix(len(messages)))
	}
	attr := func(flags, typ byte, value ...byte) []byte {
		return append([]byte{flags, typ, byte(len(value))}, value...)
	}

	add("3.a attribute length beyond the message", bgpMessage(typeUpdate, slices.Concat([]byte{0, 0, 0xff, 0xff}, origin, prefix)))
	add("3.a withdrawn length beyond the message", bgpMessage(typeUpdate, slices.Concat([]byte{0xff, 0xff, 0, 0}, origin, prefix)))
	add("3.c ORIGIN marked optional", update(attributes([]byte{0xc0, 1, 1, 0}, asPath, nextHop), prefix))
	add("3.c AS_PATH marked not transitive", update(attributes(origin, append([]byte{0x00}, asPath[1:]...), nextHop), prefix))
	add("3.d no ORIGIN", update(attributes(asPath, nextHop), prefix))
	add("3.d no AS_PATH", update(attributes(origin, nextHop), prefix))
	add("3.d no NEXT_HOP", update(attributes(origin, asPath), prefix))
	add("3.d no attribute at all", update(nil, prefix))
	add("3.g MP_REACH_NLRI twice", update(attributes(origin, asPath, attr(0x80, 14, 0, 1, 1, 4, 198, 19, 0, 200, 0, prefix[0], prefix[1], prefix[2], prefix[3]),
		attr(0x80, 14, 0, 1, 1, 4, 198, 19, 0, 200, 0, prefix[0], prefix[1], prefix[2], prefix[3])), nil))
	add("4 last attribute runs over", update(attributes(origin, asPath, nextHop, []byte{0x40, 5, 40, 1}), prefix))
	add("5.3 prefix length over 32", update(attributes(origin, asPath, nextHop), append([]byte{33}, append(prefix[1:], 0, 0)...)))
	add("5.3 prefix runs over", update(attributes(origin, asPath, nextHop), []byte{24, 203, 0}))
	add("7.1 ORIGIN of length 2", update(attributes(attr(0x40, 1, 0, 0), asPath, nextHop), prefix))
	add("7.1 ORIGIN 3", update(attributes(attr(0x40, 1, 3), asPath, nextHop), prefix))
	add("7.2 AS_PATH segment of type 9", update(attributes(origin, attr(0x40, 2, 9, 1, 0, 0, 0xfd, 0xe7), nextHop), prefix))
	add("7.2 AS_PATH segment runs over", update(attributes(origin, attr(0x40, 2, 2, 9, 0, 0, 0xfd, 0xe7), nextHop), prefix))
	add("7.2 AS_PATH one byte left", update(attributes(origin, attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe7, 2), nextHop), prefix))
	add("7.2 AS_PATH empty segment", update(attributes(origin, attr(0x40, 2, 2, 0), nextHop), prefix))
	add("7.3 NEXT_HOP of length 3", update(attributes(origin, asPath, attr(0x40, 3, 198, 19, 0)), prefix))
	add("7.4 MULTI_EXIT_DISC of length 3", update(attributes(origin, asPath, nextHop, attr(0x80, 4, 0, 0, 1)), prefix))
	add("7.8 COMMUNITIES of length 5", update(attributes(origin, asPath, nextHop, attr(0xc0, 8, 1, 2, 3, 4, 5)), prefix))
	add(tolerated, update(attributes(origin, asPath, nextHop, attr(0xc0, 8)), prefix))
	add("7.11 MP_REACH_NLRI next hop of length 5", update(attributes(origin, asPath, attr(0x80, 14, 0, 1, 1, 5, 198, 19, 0, 200, 1, 0, prefix[0], prefix[1], prefix[2], prefix[3])), nil))
	add("7.11 MP_REACH_NLRI too short", update(attributes(origin, asPath, attr(0x80, 14, 0, 1, 1)), nil))
	add("7.14 EXTENDED_COMMUNITIES of length 7", update(attributes(origin, asPath, nextHop, attr(0xc0, 16, 1, 2, 3, 4, 5, 6, 7)), prefix))
	add("RFC 8092 LARGE_COMMUNITY of length 11", update(attributes(origin, asPath, nextHop, attr(0xc0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)), prefix))
	add("an unknown well-known attribute", update(attributes(origin, asPath, nextHop, attr(0x40, 99, 1)), prefix))
	return messages
}

// mutations are n messages made from good ones by changes that a fixed seed chooses: bits flipped, bytes changed, cut off,
// repeated, lengths altered. The header's length is right in most of them, so that they get past it. A mutation may happen
// to be a good message: they are about 100.64.0.0/10, which may be learned.
func mutations(n int) []rawMessage {
	r := rand.New(rand.NewPCG(7606, 4271))
	messages := make([]rawMessage, n)
	for i := range messages {
		open := i%8 == 0
		var good []byte
		if open {
			good = rawOpen(net.IPv4(198, 19, 0, 99))
		} else {
			good = update(attributes(origin, asPath, nextHop, []byte{0x80, 4, 4, 0, 0, 0, 1}, []byte{0xc0, 8, 4, 1, 2, 3, 4},
				[]byte{0xc0, 16, 8, 0, 2, 0, 1, 0, 0, 0, 1}, []byte{0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3},
				[]byte{0x80, 14, 27, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32, 0x20, 1, 0xd, 0xb8}),
				nlri(net.IPv4(100, 64, byte(i), 0)))
		}
		b := mutate(r, good)
		messages[i] = rawMessage{Name: fmt.Sprintf("mutation %d", i), Bytes: hex.EncodeToString(b), Open: open}
	}
	return messages
}

func mutate(r *rand.Rand, good []byte) []byte {
	const header = 19
	body := slices.Clone(good[header:])
	for range 1 + r.IntN(4) {
		at := r.IntN(len(body))
		switch r.IntN(6) {
		case 0:
			body[at] ^= 1 << r.IntN(8)
		case 1:
			body[at] = byte(r.IntN(256))
		case 2:
			body[at] = 0xff
		case 3:
			body = body[:at+1]
		case 4:
			body = slices.Insert(body, at, body[:at+1]...)
		case 5:
			body[at]++
		}
	}
	b := bgpMessage(good[18], body)
	if r.IntN(10) == 0 {
		b[16+r.IntN(2)] ^= byte(1 + r.IntN(8)) // the header's length is wrong too
	}
	return b
}
