package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/bgp/neighbor"
)

func routersExplainCommand() *cobra.Command {
	var from source
	var options explainOptions
	cmd := &cobra.Command{
		Use:   "explain NODE PEER",
		Short: "Why a session of a node with a BGPPeer does not come up, and what to change on which side",
		Long: `Why a session of a node with a BGPPeer does not come up, and what to change on which side, from what both sides have said: AS
numbers, router IDs, MD5 keys, hops and TTL security, hold times, address families, limits of prefixes, BFD, a router that shuts
the session down with a word, or a router that does not answer. If the session is up: what goes over it, and which limits are near.

What the node says is taken from its NodeRoutingState: of the cluster, or of files with --from. On the node itself --run-dir asks
its agent, which knows more: BFD, the families, and the number of prefixes. Without --from nothing else is read then.

With --format, or when the DatacenterNetwork has a gateway with the router's address, it also prints the lines of the router's
configuration that matter, as they should be (see waymark routers config).

Exit status: 0 the session is up, 2 it is not, 1 that could not be found out.`,
		Example: `  # why has node-7 no session with the reflector?
  waymark routers explain node-7 rr1 --format cisco-nxos

  # on the node, with the objects from files
  waymark routers explain node-7 rr1 --run-dir /run/waymark --from /etc/waymark/manifests`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("which session? name a node and a BGPPeer: NODE PEER")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options.objects = options.runDir == "" || cmd.Flags().Changed("from")
			view, err := options.explain(cmd.Context(), cmd.InOrStdin(), &from, args[0], args[1])
			if err != nil {
				return err
			}
			if err := show(cmd.OutOrStdout(), options.output, view, view.print); err != nil {
				return err
			}
			if view.Cause != "Up" {
				return errFound
			}
			return nil
		},
	}
	from.flags(cmd, "all objects")
	cmd.Flags().StringVar(&options.runDir, "run-dir", "", "run `directory` of this node's agent, to ask it")
	cmd.Flags().StringVar(&options.format, "format", "", "`format` of the router's lines")
	outputFlag(cmd, &options.output)
	return cmd
}

type explainOptions struct {
	runDir, format, output string
	objects                bool // are to be read
}

// sessionExplanation is what there is to say of a session.
type sessionExplanation struct {
	neighbor.Explanation
	Exchanged []neighbor.Exchange `json:"exchanged"`
}

func (o *explainOptions) explain(ctx context.Context, stdin io.Reader, from *source, node, peer string) (*sessionExplanation, error) {
	c := &cluster{}
	if o.objects {
		var manifests map[string][]byte
		var err error
		if c, manifests, err = from.read(ctx, stdin); err != nil {
			return nil, err
		}
		if manifests != nil {
			if c.states, err = statesOf(manifests); err != nil {
				return nil, err
			}
		}
	}
	session := &neighbor.Session{Node: node, Peer: peer}
	var err error
	if o.runDir != "" {
		err = askAgent(ctx, o.runDir, session)
	} else {
		err = c.report(time.Now(), session)
	}
	if err != nil {
		return nil, err
	}
	format := o.format
	if o.objects {
		if err := c.wanted(session); err != nil {
			return nil, err
		}
		format = cmp.Or(format, c.dialectOf(session.Router))
	}
	if !slices.Contains(neighbor.Dialects(), format) && o.format == "" {
		format = ""
	}
	e, err := neighbor.Explain(session, format)
	if err != nil && o.format != "" { // nobody has asked for lines otherwise
		return nil, err
	}
	e.Changes = list(e.Changes)
	return &sessionExplanation{e, list(session.Exchanged)}, nil
}

// statesOf are the NodeRoutingStates in manifests, by node.
func statesOf(manifests map[string][]byte) (map[string]*v1alpha1.NodeRoutingState, error) {
	states := map[string]*v1alpha1.NodeRoutingState{}
	for name, text := range manifests {
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			var document runtime.RawExtension
			if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if err := addState(document.Raw, states); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return states, nil
}

// addState adds an object if it is a NodeRoutingState, and those of a list.
func addState(object []byte, states map[string]*v1alpha1.NodeRoutingState) error {
	var kind struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if len(object) == 0 {
		return nil
	}
	if err := json.Unmarshal(object, &kind); err != nil {
		return err
	}
	for _, item := range kind.Items {
		if err := addState(item, states); err != nil {
			return err
		}
	}
	if kind.Kind != "NodeRoutingState" {
		return nil
	}
	var state v1alpha1.NodeRoutingState
	if err := json.Unmarshal(object, &state); err != nil {
		return err
	}
	states[state.Name] = &state
	return nil
}

// report fills a session with what its node has reported.
func (c *cluster) report(now time.Time, s *neighbor.Session) error {
	node, err := c.node(s.Node)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.peers, func(p v1alpha1.BGPPeer) bool { return p.Name == s.Peer })
	if i < 0 {
		return fmt.Errorf("there is no BGPPeer %q; there are %s", s.Peer, orNone(names(peerNames(c.peers))))
	}
	if why, is := selected(&c.peers[i], node); !is {
		return fmt.Errorf("BGPPeer %s is none of node %s: %s", s.Peer, s.Node, why)
	}
	state := c.states[s.Node]
	why := stale(now, node, state)
	if why != "" && (state == nil || state.Status.Reported.IsZero()) {
		return fmt.Errorf("node %s: %s of its sessions: is the agent running there?", s.Node, why)
	}
	s.Stale = why
	s.ASN, s.RouterID = uint32(state.Status.ASN), state.Status.RouterID
	for name, other := range c.states {
		if name != s.Node && other.Status.RouterID != "" && other.Status.RouterID == s.RouterID && (s.Twin == "" || name < s.Twin) {
			s.Twin = name
		}
	}
	s.State, s.Waits = v1alpha1.SessionWaiting, cmp.Or(problemOf(state, "BGPPeer/"+s.Peer), "the node has not taken it up yet")
	for _, told := range state.Status.Sessions {
		if told.Peer == s.Peer {
			s.State, s.Error = told.State, told.LastError
			s.Router, _ = netip.ParseAddr(told.Address)
		}
	}
	if s.State == string(bgp.Established) {
		for _, version := range []int{4, 6} { // which families the session has, the report does not say
			if n := len(ofFamily(version, state.Status.Announced)); n > 0 {
				s.Exchanged = append(s.Exchanged, neighbor.Exchange{Version: version, Announced: n, Received: -1})
			}
		}
	}
	return nil
}

// ofFamily are the prefixes of a family.
func ofFamily(version int, prefixes []string) []string {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p string) bool { return strings.Contains(p, ":") != (version == 6) })
}

// askAgent fills a session with what the agent of this node says.
func askAgent(ctx context.Context, runDir string, s *neighbor.Session) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, err := telemetry.Client{RunDir: runDir}.Status(ctx)
	if err != nil {
		return err
	}
	if status.Node != s.Node {
		return fmt.Errorf("the agent in %s is that of node %s: for %s leave --run-dir out, or go there", runDir, status.Node, s.Node)
	}
	s.ASN = status.ASN
	if status.RouterID.IsValid() {
		s.RouterID = status.RouterID.String()
	}
	if slices.Contains(status.Waiting, s.Peer) {
		s.State = v1alpha1.SessionWaiting
		for _, p := range status.Problems {
			if p.Object == "BGPPeer/"+s.Peer {
				s.Waits = p.Message
			}
		}
		return nil
	}
	i := slices.IndexFunc(status.Peers, func(p agent.PeerStatus) bool { return p.Name == s.Peer })
	if i < 0 {
		return fmt.Errorf("node %s has no BGPPeer %s in force", s.Node, s.Peer)
	}
	peer := &status.Peers[i]
	s.State, s.Error, s.Router = string(peer.State), peer.LastError, peer.Address
	if peer.BFDWanted {
		s.BFD = bfdText(*peer, status.BFD)
	}
	for _, f := range peer.Families {
		x := neighbor.Exchange{Version: int(f), Received: -1}
		for _, prefix := range status.Announced {
			if bgp.FamilyOf(prefix) == f {
				x.Announced++
			}
		}
		if len(peer.Families) == 1 {
			x.Announced, x.Received = peer.Announced, peer.Received
		}
		s.Exchanged = append(s.Exchanged, x)
	}
	return nil
}

// wanted adds what the objects say of a session.
func (c *cluster) wanted(s *neighbor.Session) error {
	peerings, _, err := c.peerings(&configOptions{peer: s.Peer, neighbors: "each", send: "all"})
	if err != nil {
		return err
	}
	for i := range peerings {
		p := &peerings[i]
		p.Nodes = slices.DeleteFunc(p.Nodes, func(n neighbor.Node) bool { return n.Name != s.Node })
		if len(p.Nodes) == 0 {
			continue
		}
		s.Wanted, s.ASN = p, p.Nodes[0].ASN
		s.Router = p.Router
	}
	for i := range c.peers {
		if most := c.peers[i].Spec.MaxPrefixes; c.peers[i].Name == s.Peer && most != nil {
			for j := range s.Exchanged {
				s.Exchanged[j].Most = int(*most)
			}
		}
	}
	return nil
}

func (e *sessionExplanation) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n", e.Seen, e.Means)
	for _, x := range e.Exchanged {
		received := ""
		if x.Received >= 0 {
			received = fmt.Sprintf(", %d received", x.Received)
		}
		if x.Most > 0 {
			received += fmt.Sprintf(", at most %d taken", x.Most)
		}
		fmt.Fprintf(w, "IPv%d prefixes: %d announced%s\n", x.Version, x.Announced, received)
	}
	where := map[string]string{"router": "on the router", "cluster": "in the cluster"}
	for _, c := range e.Changes {
		fmt.Fprintf(w, "- %s: %s\n", where[c.Side], c.Text)
	}
	if e.Lines != "" {
		fmt.Fprintf(w, "\nOn the router it should be:\n%s", e.Lines)
	}
	return nil
}
