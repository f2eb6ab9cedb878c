package agent

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
)

var update = flag.Bool("update", false, "write the plans into the scenarios")

// TestDecide tells each scenario of testdata: the manifests of a cluster, what the node knows by itself (facts), and the
// plan that node "n1" makes of them.
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s Snapshot
			var f Facts
			want := -1
			for i, part := range archive.Files {
				switch part.Name {
				case "manifests":
					s = snapshot(t, string(part.Data))
				case "facts":
					f = facts(t, string(part.Data))
				case "plan":
					want = i
				}
			}
			if want < 0 {
				t.Fatal("no plan in the scenario")
			}
			got := text(Decide("n1", s, f))
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(archive.Files[want].Data) {
				t.Errorf("plan:\n%s\nwant:\n%s", got, archive.Files[want].Data)
			}
			if again := text(Decide("n1", s, f)); again != got {
				t.Errorf("decided twice, two plans:\n%s\n%s", got, again)
			}
		})
	}
}

func snapshot(t *testing.T, manifests string) Snapshot {
	t.Helper()
	s := Snapshot{Synced: true}
	for document := range strings.SplitSeq(manifests, "---\n") {
		var meta metav1.TypeMeta
		decode(t, document, &meta)
		switch meta.Kind {
		case "Node":
			appendObject(t, document, &s.Nodes)
		case "Secret":
			appendObject(t, document, &s.Secrets)
		case "BGPConfiguration":
			appendObject(t, document, &s.Configurations)
		case "BGPPeer":
			appendObject(t, document, &s.Peers)
		case "EgressPolicy":
			appendObject(t, document, &s.Policies)
		case "DatacenterNetwork":
			appendObject(t, document, &s.Datacenters)
		case "Pod":
			appendObject(t, document, &s.Pods)
		case "Namespace":
			appendObject(t, document, &s.Namespaces)
		case "NodeRoutingState":
			s.Controlled, s.State = true, new(v1alpha1.NodeRoutingState)
			decode(t, document, s.State)
		case "AddressPool":
			appendObject(t, document, &s.Pools)
		case "NodeRole":
			appendObject(t, document, &s.Roles)
		default:
			t.Fatalf("kind %q in %s", meta.Kind, document)
		}
	}
	return s
}

func appendObject[T any](t *testing.T, document string, to *[]T) {
	t.Helper()
	var object T
	decode(t, document, &object)
	*to = append(*to, object)
}

func decode(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(document), into); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
}

// facts reads lines: "restarting", "announced PREFIX", "address ADDRESS", "path-failures ADDRESS N", "has-password PEER",
// "has-session PEER" (without a password).
func facts(t *testing.T, lines string) Facts {
	t.Helper()
	f := Facts{PathFailures: map[netip.Addr]uint64{}}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		switch words[0] {
		case "restarting":
			f.Restarting = true
		case "announced":
			f.Announced = append(f.Announced, netip.MustParsePrefix(words[1]))
		case "address":
			f.Addresses = append(f.Addresses, netip.MustParsePrefix(words[1]))
		case "drained":
			f.Drained = true
		case "told":
			f.Told = true
		case "learned":
			f.Learned = func(yield func(netip.Prefix, []netip.Addr) bool) {
				yield(netip.MustParsePrefix(words[1]), []netip.Addr{netip.MustParseAddr(words[2])})
			}
		case "path-failures":
			f.PathFailures[netip.MustParseAddr(words[1])] = uint64(len(words[2]))
		case "has-session":
			f.BGP = &bgp.Config{Peers: []bgp.Peer{{Name: words[1], Address: netip.MustParseAddr("10.132.2.254")}}}
		case "has-password":
			f.BGP = &bgp.Config{Peers: []bgp.Peer{{Name: words[1], Address: netip.MustParseAddr("10.132.2.254"), Password: bgp.NewPassword("old")}}}
		default:
			t.Fatalf("fact %q", line)
		}
	}
	return f
}

// text shows a plan, a line for each thing that it does.
func text(p Plan) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if c := p.BGP; c == nil {
		line("bgp: as it is")
	} else {
		line("bgp: as %d router-id %s listen %d restart %v %v restarting %v", c.ASN, c.RouterID, c.ListenPort,
			c.GracefulRestart.Enabled, c.GracefulRestart.RestartTime, c.GracefulRestart.Restarting)
		for _, r := range c.Accept {
			line("accept: %s %d-%d %s", r.Prefix, r.MinLength, r.MaxLength, r.Action)
		}
		for _, a := range c.Announce {
			line("announce: %s %v", a.Prefix, a.Communities)
		}
		for _, peer := range c.Peers {
			fields, err := json.Marshal(peer)
			if err != nil {
				panic(err)
			}
			line("peer: %s", fields)
		}
	}
	for _, s := range p.BFD {
		line("bfd: %s multihop %v %v x %d", s.Peer, s.Multihop, s.DesiredMinTx, s.DetectMult)
	}
	if r := p.Routes; r != nil {
		line("routes: table %d metric %d own %v", r.Table, r.Metric, r.Own)
	}
	if p.NAT == nil {
		line("nat: as it is")
	} else {
		line("pods: %v", p.NAT.Pods)
		for _, n := range p.NAT.Policies {
			pods := ""
			if n.Selects {
				pods = fmt.Sprintf(" of %v", n.Pods)
			}
			line("source: %d %s %s%s to %v but %v", n.Priority, n.Name, n.Source, pods, n.Destinations, n.Exclude)
		}
	}
	if len(p.Waiting) > 0 {
		line("waiting: %v", p.Waiting)
	}
	if !p.Gate.Open {
		line("gate: %s: %s", p.Gate.Reason, p.Gate.Message)
	}
	for _, problem := range p.Problems {
		line("problem: %s", problem)
	}
	return b.String()
}
