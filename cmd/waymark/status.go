package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bfd"
)

// shownRoutes is how many learned routes are printed unless all are asked for.
const shownRoutes = 20

func statusCommand(plugin bool) *cobra.Command {
	var from access
	var runDir, output string
	var allRoutes, allNodes, whole bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What is in force on this node, or in the cluster: sessions, routes, policies, and what is not and why",
		Long: `What is in force on this node, or in the cluster: sessions, routes, policies, and what is not and why.

On a node, as root, it asks the agent by its socket in --run-dir, and needs no API server. About a cluster, with --cluster or as
kubectl waymark, it reads Nodes, waymark.io objects and what the agents have reported by a kubeconfig; nodes that somebody should
look at come first. A report older than 10 minutes is called stale: what is so now is not known.

Exit status: 0 it has been printed, good or not, 1 the agent or the cluster could not be asked. Programs read -o json.`,
		Example: `  # on a node
  waymark status
  waymark status -o json --run-dir /run/waymark

  # a cluster, with all its nodes
  waymark status --cluster --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if whole || from != (access{}) && !cmd.Flags().Changed("cluster") {
				c, err := from.read(cmd.Context())
				if err != nil {
					return err
				}
				now := time.Now()
				view := overviewOf(now, c)
				limit := shownNodes
				if allNodes {
					limit = len(view.Nodes)
				}
				return show(cmd.OutOrStdout(), output, view, func(w io.Writer) error { return printOverview(w, now, view, limit) })
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			client := telemetry.Client{RunDir: runDir}
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			routes, err := client.Routes(ctx)
			if err != nil {
				return err
			}
			limit := shownRoutes
			if allRoutes {
				limit = len(routes)
			}
			return show(cmd.OutOrStdout(), output, reportOf(status, routes), func(w io.Writer) error {
				return printStatus(w, time.Now(), status, routes, limit)
			})
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", "/run/waymark", "the agent's run `directory`")
	outputFlag(cmd, &output)
	from.flags(cmd)
	cmd.Flags().BoolVar(&whole, "cluster", plugin, "the whole cluster, as its nodes report")
	cmd.Flags().BoolVar(&allNodes, "all", false, fmt.Sprintf("with --cluster: print all nodes, not only the first %d; json always has all", shownNodes))
	cmd.Flags().BoolVar(&allRoutes, "routes", false, fmt.Sprintf("print all learned routes, not only the first %d; json always has all", shownRoutes))
	return cmd
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "`format` to print: text or json")
}

// show prints a view as text, or itself as JSON.
func show(w io.Writer, output string, view any, text func(io.Writer) error) error {
	switch output {
	case "text":
		return text(w)
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(view)
	}
	return fmt.Errorf("-o %s: want text or json", output)
}

func printStatus(w io.Writer, now time.Time, s agent.Status, routes []telemetry.LearnedRoute, limit int) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	state := "ready"
	if !s.Ready {
		state = "not ready: " + strings.ReplaceAll(s.NotReady, "\n", "; ")
	}
	if s.Drain != nil {
		state += ", " + strings.ToLower(s.Drain.Phase)
	}
	identity := "no AS yet"
	if s.ASN != 0 {
		identity = fmt.Sprintf("AS %d, router ID %s", s.ASN, s.RouterID)
	}
	fmt.Fprintf(p, "Node %s, %s, source addresses by %s, version %s, up %s, %s\n",
		s.Node, identity, s.Backend, s.Version, age(now, s.Started), state)

	if !s.Restored.IsZero() {
		fmt.Fprintf(p, "The API server cannot be reached: in force is what it said %s ago\n", age(now, s.Restored))
	}
	if s.Drain != nil {
		fmt.Fprintf(p, "%s for %s: %s\n", s.Drain.Phase, age(now, s.Drain.Since), s.Drain.Message)
	} else if !s.Gate.Open {
		fmt.Fprintf(p, "Nothing new is announced: %s: %s\n", s.Gate.Reason, s.Gate.Message)
	}

	fmt.Fprintf(p, "\nPEER\tADDRESS\tAS\tSTATE\tSINCE\tIN\tACCEPTED\tOUT\tFLAPS\tBFD\tLAST ERROR\n")
	for _, peer := range s.Peers {
		fmt.Fprintf(p, "%s\t%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", peer.Name, peer.Address, peer.ASN, peer.State,
			age(now, peer.Since), peer.Received, peer.Accepted, peer.Announced, peer.Flaps, bfdText(peer, s.BFD), peer.LastError)
	}
	if len(s.Peers) == 0 {
		fmt.Fprintln(p, "none")
	}

	fmt.Fprintf(p, "\nAnnounced: %s\n", orNone(join(s.Announced)))
	printLearned(p, s, len(routes))
	for i, r := range routes {
		if i == limit {
			fmt.Fprintf(p, "  and %d more: --routes prints all\n", len(routes)-limit)
			break
		}
		fmt.Fprintf(p, "  %s\tvia %s\n", r.Prefix, join(r.NextHops))
	}
	for _, refusal := range s.Routes.Refused {
		fmt.Fprintf(p, "  refused %s\t%s\n", refusal.Prefix, refusal.Reason)
	}

	fmt.Fprintf(p, "\nPRIORITY\tPOLICY\tSOURCE\tTO\tBUT NOT TO\n")
	for _, policy := range s.Policies {
		to := join(policy.Destinations)
		if to == "" {
			to = "everything"
		}
		fmt.Fprintf(p, "%d\t%s\t%s\t%s\t%s\n", policy.Priority, policy.Name, policy.Source, to, join(policy.Exclude))
	}
	if len(s.Policies) == 0 {
		fmt.Fprintln(p, "none: pod traffic leaves as the host would treat it without Waymark")
	}

	printEgress(p, now, s)
	if len(s.Problems) > 0 {
		fmt.Fprintf(p, "\nNOT IN FORCE\n")
		for _, problem := range s.Problems {
			fmt.Fprintf(p, "%s\n", problem)
		}
	}
	return p.Flush()
}

func printLearned(w io.Writer, s agent.Status, n int) {
	if s.ASN == 0 {
		fmt.Fprintln(w, "Learned: none (BGP is not configured)")
		return
	}
	settling := ""
	if s.Routes.Settling {
		settling = "; routes of an earlier agent stay until all peers have told all they have"
	}
	fmt.Fprintf(w, "Learned: %d, in the kernel: %d (table %d, metric %d), refused: %d%s\n",
		n, s.Routes.Installed, s.Routes.Table, s.Routes.Metric, s.Routes.RefusedN, settling)
}

func bfdText(p agent.PeerStatus, s agent.BFDStatus) string {
	switch {
	case p.BFD != nil && p.BFD.Problem != "":
		return fmt.Sprintf("%s: %s", p.BFD.State, p.BFD.Problem)
	case p.BFD != nil && p.BFD.State == bfd.Up:
		return fmt.Sprintf("%s, detects in %s", p.BFD.State, p.BFD.DetectionTime.Round(time.Millisecond))
	case p.BFD != nil:
		return p.BFD.State.String()
	case p.BFDWanted && !s.Connected:
		return "wanted, but waymark-bfd is not running"
	case p.BFDWanted:
		return "starting"
	}
	return "off"
}

func age(now, since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return now.Sub(since).Round(time.Second).String()
}

func join[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = item.String()
	}
	return strings.Join(texts, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
