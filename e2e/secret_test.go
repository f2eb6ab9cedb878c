package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestSecretThatIsNotThere: an operator asks for a password before its Secret is there. The session that has none goes on,
// status says what is missing, and the password takes effect when the Secret comes.
func TestSecretThatIsNotThere(t *testing.T) {
	l := NewLab(t)
	bird := nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t)
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)
	reachable(t, l)
	before, err := l.Status(t)
	if err != nil {
		t.Fatal(err)
	}

	l.Speak(t, "passwordSecret: {namespace: waymark-system, name: rr, key: password}")
	const missing = `there is no key "password" in Secret waymark-system/rr: the session stays without a password until it is there`
	nettest.Eventually(t, 5*time.Second, func() error {
		s, err := l.Status(t)
		if err == nil && !slices.ContainsFunc(s.Problems, func(p agent.Problem) bool {
			return p.Object == "BGPPeer/router" && p.Reason == "MissingSecret" && p.Message == missing
		}) {
			err = fmt.Errorf("problems: %v", s.Problems)
		}
		return err
	})
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		s, err := l.Status(t)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Peers) != 1 || s.Peers[0].State != bgp.Established || !s.Peers[0].Since.Equal(before.Peers[0].Since) || !s.Ready {
			t.Fatalf("the session was touched: %+v", s)
		}
	}
	reachable(t, l)

	l.Write(t, "secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {namespace: waymark-system, name: rr}\nstringData: {password: sesame}\n")
	bird.Configure(t, routerBIRD(`password "sesame";`))
	begin = time.Now()
	nettest.Eventually(t, 20*time.Second, func() error {
		s, err := l.Status(t)
		if err == nil && (len(s.Problems) > 0 || len(s.Peers) != 1 || s.Peers[0].State != bgp.Established || s.Peers[0].Since.Before(begin)) {
			err = fmt.Errorf("no session with the password: %+v", s)
		}
		return err
	})
	reachable(t, l)
}
