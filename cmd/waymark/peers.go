package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
)

func peersCommand() *cobra.Command {
	var from access
	var node, output string
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Every BGPPeer of the cluster with its sessions, and why those are down that are",
		Long: `Every BGPPeer of the cluster with its sessions, and why those are down that are. Nodes whose session is down are listed by cause;
Unknown is a session that its node does not report. To mend one: waymark routers explain.

It reads Nodes and waymark.io objects, with the agents' reports, by a kubeconfig, and asks no agent and no router.

Exit status: 0 the sessions have been printed, up or not, 1 the cluster could not be read, or has no such node.`,
		Example: `  waymark peers
  waymark peers --node node-7 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := from.read(cmd.Context())
			if err != nil {
				return err
			}
			if node != "" {
				n, err := c.node(node)
				if err != nil {
					return err
				}
				c.nodes = []corev1.Node{*n}
			}
			now := time.Now()
			peers := peersOf(now, c)
			return show(cmd.OutOrStdout(), output, peers, func(w io.Writer) error { return printPeers(w, now, peers, node != "") })
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &output)
	cmd.Flags().StringVar(&node, "node", "", "only the sessions of this `node`")
	return cmd
}

// peerView is a BGPPeer and its sessions.
type peerView struct {
	Name        string        `json:"name"`
	Address     string        `json:"address"` // or the annotation that it comes from
	ASN         int64         `json:"asn,omitempty"`
	Established int           `json:"established"`
	Wanted      int           `json:"wanted"`
	Deleted     bool          `json:"deleted,omitempty"` // nodes report sessions, but there is no such object any more
	Sessions    []sessionView `json:"sessions"`
}

// sessionView is one session. What is not reported has the state Unknown, and the reason as its last error.
type sessionView struct {
	Node      string      `json:"node"`
	Address   string      `json:"address,omitempty"`
	State     string      `json:"state"`
	Since     metav1.Time `json:"since,omitzero"`
	LastError string      `json:"lastError,omitempty"`
}

const unknown = "Unknown"

func (s sessionView) up() bool { return s.State == string(bgp.Established) }

func peersOf(now time.Time, c *cluster) []peerView {
	views := []peerView{}
	index := map[string]int{}
	for i := range c.peers {
		p := &c.peers[i]
		index[p.Name] = len(views)
		address := p.Spec.Address
		if address == "" {
			address = "annotation " + p.Spec.FromNodeAnnotation
		}
		views = append(views, peerView{Name: p.Name, Address: address, ASN: p.Spec.ASN, Sessions: []sessionView{}})
	}
	for i := range c.nodes {
		node := &c.nodes[i]
		state := c.states[node.Name]
		why := stale(now, node, state)
		told := map[string]bool{}
		if state != nil {
			for _, s := range state.Status.Sessions {
				told[s.Peer] = true
				at, known := index[s.Peer]
				if !known {
					at = len(views)
					index[s.Peer] = at
					views = append(views, peerView{Name: s.Peer, Address: s.Address, Deleted: true})
				}
				view := sessionView{Node: node.Name, Address: s.Address, State: s.State, Since: s.Since, LastError: s.LastError}
				if why != "" {
					view.State, view.LastError = unknown, why+"; last it said "+s.State
				}
				views[at].Sessions = append(views[at].Sessions, view)
			}
		}
		for j := range c.peers {
			p := &c.peers[j]
			if _, wanted := selected(p, node); !wanted || told[p.Name] {
				continue
			}
			missing := cmp.Or(why, problemOf(state, "BGPPeer/"+p.Name), "the node has not taken it up yet")
			views[index[p.Name]].Sessions = append(views[index[p.Name]].Sessions, sessionView{Node: node.Name, State: unknown, LastError: missing})
		}
	}
	for i := range views {
		views[i].Wanted = len(views[i].Sessions)
		for _, s := range views[i].Sessions {
			if s.up() {
				views[i].Established++
			}
		}
	}
	slices.SortStableFunc(views, func(a, b peerView) int { return cmp.Compare(a.Name, b.Name) })
	return views
}

// selected says why a peer is one of the node's, or why not.
func selected(p *v1alpha1.BGPPeer, node *corev1.Node) (why string, is bool) {
	why = "it selects every node"
	if s := p.Spec.NodeSelector; s != nil {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			return fmt.Sprintf("its nodeSelector is not valid: %v", err), false
		}
		why = "it selects nodes with " + metav1.FormatLabelSelector(s)
		if !selector.Matches(labels.Set(node.Labels)) {
			return why + ", and this one has " + relevant(selector, node), false
		}
	}
	if key := p.Spec.FromNodeAnnotation; key != "" {
		if _, ok := node.Annotations[key]; !ok {
			return why + ", and this one has no annotation " + key + " to take the address from", false
		}
		return why + ", with the address in annotation " + key, true
	}
	if a, err := netip.ParseAddr(p.Spec.Address); err == nil && slices.ContainsFunc(node.Status.Addresses, func(own corev1.NodeAddress) bool {
		b, err := netip.ParseAddr(own.Address)
		return err == nil && a == b
	}) {
		return "its address is this node's own", false
	}
	return why, true
}

// relevant are the labels of a node that a selector asks for.
func relevant(selector labels.Selector, node *corev1.Node) string {
	var texts []string
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if value, ok := node.Labels[r.Key()]; ok {
			texts = append(texts, r.Key()+"="+value)
		} else {
			texts = append(texts, "no label "+r.Key())
		}
	}
	return strings.Join(texts, ", ")
}

// problemOf is what a node has reported of an object.
func problemOf(state *v1alpha1.NodeRoutingState, object string) string {
	if state == nil {
		return ""
	}
	var texts []string
	for _, p := range state.Status.Problems {
		if p.Object == object {
			texts = append(texts, p.Reason+": "+p.Message)
		}
	}
	return strings.Join(texts, "; ")
}

func printPeers(w io.Writer, now time.Time, peers []peerView, each bool) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "PEER\tADDRESS\tAS\tSESSIONS\n")
	for i := range peers {
		peer := &peers[i]
		note := ""
		switch {
		case peer.Deleted:
			note = ", but there is no such BGPPeer any more"
		case peer.Wanted == 0:
			note = ", it is no peer here"
		}
		fmt.Fprintf(p, "%s\t%s\t%d\t%d/%d up%s\n", peer.Name, peer.Address, peer.ASN, peer.Established, peer.Wanted, note)
	}
	if len(peers) == 0 {
		fmt.Fprintln(p, "none")
	}
	if err := p.Flush(); err != nil {
		return err
	}
	for i := range peers {
		printSessions(p, now, &peers[i], each)
	}
	return p.Flush()
}

// printSessions lists the sessions, or only those that are down: many nodes with the same error in one line.
func printSessions(w io.Writer, now time.Time, peer *peerView, each bool) {
	if each {
		for _, s := range peer.Sessions {
			fmt.Fprintf(w, "\n%s on %s: %s, %s%s\n", peer.Name, s.Node, s.State, ago(now, s.Since.Time), because(s.LastError))
		}
		return
	}
	type cause struct{ state, err string }
	nodes := map[cause][]string{}
	var causes []cause
	for _, s := range peer.Sessions {
		if s.up() {
			continue
		}
		c := cause{s.State, s.LastError}
		if nodes[c] == nil {
			causes = append(causes, c)
		}
		nodes[c] = append(nodes[c], s.Node)
	}
	if len(causes) > 0 {
		fmt.Fprintf(w, "\n%s is down:\n", peer.Name)
	}
	slices.SortStableFunc(causes, func(a, b cause) int { return cmp.Compare(len(nodes[b]), len(nodes[a])) })
	for _, c := range causes {
		fmt.Fprintf(w, "  on %s: %s%s\n", names(nodes[c]), c.state, because(c.err))
	}
}
