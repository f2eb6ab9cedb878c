package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestBadInputLosesNothing: everything that can be wrong in the files, one after the other, while the node works. Each is
// named with file and line or object, and the session, the announcement and the route stay.
func TestBadInputLosesNothing(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t)
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)

	peer := "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: bad}\nspec: {address: 198.18.0.9, asn: 64512%s}\n"
	for _, bad := range []struct {
		name, file, text string
		want             []string // in the problems of status
	}{
		{"half-written", "peer.yaml", "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: rou", []string{"peer.yaml:"}},
		{"no YAML", "peer.yaml", "a: b: c\n\t}", []string{"peer.yaml:"}},
		{"unknown field", "bad.yaml", fmt.Sprintf(peer, ", asnn: 5"), []string{"bad.yaml:4", "asnn"}},
		{"ASN 0", "bad.yaml", strings.Replace(fmt.Sprintf(peer, ""), "asn: 64512", "asn: 0", 1), []string{"bad.yaml:4", "asn"}},
		{"malformed prefix", "bad.yaml", fmt.Sprintf(peer, ", import: [{prefix: 10.0.0.0/33, action: Reject}]"), []string{"bad.yaml:4", "10.0.0.0/33"}},
		{"host bits", "bad.yaml", fmt.Sprintf(peer, ", import: [{prefix: 10.0.0.1/8, action: Reject}]"), []string{"10.0.0.0/8"}},
		{"peer is the node itself", "bad.yaml", strings.Replace(fmt.Sprintf(peer, ""), "198.18.0.9", nodeAddr, 1), []string{"BGPPeer/bad", nodeAddr}},
		{"missing Secret", "bad.yaml", fmt.Sprintf(peer, ", passwordSecret: {namespace: a, name: b, key: c}"), []string{"BGPPeer/bad", "Secret a/b"}},
		{"two configurations", "more.yaml", "apiVersion: waymark.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {asn: 1}\n",
			[]string{"more.yaml:1", "BGPConfiguration"}},
		{"overlap with an older node", "other.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: another}\nspec: {podCIDR: 10.244.0.0/16}\n",
			[]string{"Node/node", "10.244.0.0/16 of Node another"}},
		{"overlap with the datacenter", "sources.yaml", "apiVersion: waymark.io/v1alpha1\nkind: DatacenterNetwork\nmetadata: {name: default}\nspec: {cidrs: [10.0.0.0/8]}\n",
			[]string{"Node/node", "10.0.0.0/8 of DatacenterNetwork default"}},
		{"unknown kind", "what.yaml", "apiVersion: waymark.io/v1alpha1\nkind: BGPPear\nmetadata: {name: x}\n", []string{"what.yaml:", "BGPPear"}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			path := filepath.Join(l.Manifests, bad.file)
			good, _ := os.ReadFile(path)
			l.Write(t, bad.file, bad.text)
			nettest.Eventually(t, 5*time.Second, func() error {
				s, err := l.Status(t)
				if err != nil {
					return err
				}
				all := fmt.Sprint(s.Problems)
				for _, want := range bad.want {
					if !strings.Contains(all, want) {
						return fmt.Errorf("problems in status: %s: want %q", all, want)
					}
				}
				return nil
			})
			l.works(t)
			if good == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				l.Write(t, bad.file, string(good))
			}
			nettest.Eventually(t, 5*time.Second, func() error {
				s, err := l.Status(t)
				if err == nil && len(s.Problems) > 0 {
					err = fmt.Errorf("problems stay: %v", s.Problems)
				}
				return err
			})
		})
	}
	if strings.Contains(l.get(t, "/metrics"), "waymark_source_errors_total 0\n") {
		t.Error("source errors were not counted")
	}
}

// works fails the test when the first session has flapped, or an announcement or a route is gone.
func (l *Lab) works(t *testing.T) {
	t.Helper()
	s, err := l.Status(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Peers {
		if p.Name == "router" && (p.State != bgp.Established || p.Flaps != 0) {
			t.Errorf("session: %+v", p)
		}
	}
	for ns, prefix := range map[nettest.NS]string{l.Router: podCIDR, l.Node: "192.0.2.0/24"} {
		if err := routeAt(ns, prefix, true); err != nil {
			t.Error(err)
		}
	}
}
