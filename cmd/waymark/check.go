package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/host"
	"github.com/waymark-bgp/waymark/route"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check", Short: "Whether what is in force does what is wanted"}
	cmd.AddCommand(checkDubboCommand(), checkReachCommand(), checkSourceCommand(), checkZooKeeperCommand())
	return cmd
}

func checkSourceCommand() *cobra.Command {
	var from access
	var runDir, output, pod, to, protocol string
	cmd := &cobra.Command{
		Use:   "source --pod NAMESPACE/NAME|ADDRESS --to ADDRESS[:PORT]",
		Short: "With which source address a packet of a pod would leave this node, and which rule decides that",
		Long: `With which source address the first packet of a connection would leave this node, step by step, and which rule of
which program decides that. No packet is sent and nothing is changed. To be run as root on the node of the pod.

The NAT rules of nftables and of both kinds of iptables are evaluated, with their sets, and the routes of the kernel. What
is not understood is said to be unknown. Of a Service, whose address is translated first, one endpoint is followed.

Exit status: 0 the packet leaves with the pod's address or with what the policy wants, 1 this cannot be checked, 2 something
else changes it, or may.`,
		Example: `  waymark check source --pod default/web-0 --to 10.132.7.20:2181
  waymark check source --pod fd00:1::2 --to '[2001:db8::1]:443' -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := questionOf(to, protocol)
			if err != nil {
				return err
			}
			q.Pod, err = from.podAddress(cmd.Context(), runDir, pod, q.To.Is4())
			if err != nil {
				return err
			}
			status, unknown := telemetry.Client{RunDir: runDir}.Status(cmd.Context())
			view, err := sourceOf(cmd.Context(), pod, q, status)
			if err != nil {
				return err
			}
			if unknown != nil {
				view.Notes = append(view.Notes, "what policies want is not known: "+unknown.Error())
			}
			if err := show(cmd.OutOrStdout(), output, view, view.print); err != nil {
				return err
			}
			if !view.OK {
				return errFound
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&pod, "pod", "", "the pod, as `NAMESPACE/NAME` or by its address")
	cmd.Flags().StringVar(&to, "to", "", "the destination, as `ADDRESS[:PORT]`; without a port rules that look at ports cannot be told")
	cmd.Flags().StringVar(&protocol, "protocol", "tcp", "`protocol` of the packet: tcp, udp, icmp, or a number")
	cmd.Flags().StringVar(&runDir, "run-dir", "/run/waymark", "the agent's run `directory`")
	_ = cmd.MarkFlagRequired("pod") // the flags are there
	_ = cmd.MarkFlagRequired("to")
	outputFlag(cmd, &output)
	from.flags(cmd)
	return cmd
}

// questionOf understands 10.0.0.1, 10.0.0.1:80, 2001:db8::1 and [2001:db8::1]:80.
func questionOf(to, protocol string) (audit.Question, error) {
	var q audit.Question
	if addr, err := netip.ParseAddr(strings.Trim(to, "[]")); err == nil {
		q.To = addr.Unmap()
	} else if with, err := netip.ParseAddrPort(to); err == nil {
		q.To, q.Port = with.Addr().Unmap(), with.Port()
	} else {
		return q, fmt.Errorf("--to %q: want ADDRESS or ADDRESS:PORT, of IPv6 [ADDRESS]:PORT", to)
	}
	switch number, err := strconv.ParseUint(protocol, 10, 8); {
	case err == nil:
		q.Protocol = uint8(number)
	case protocol == "icmp" && q.To.Is4():
		q.Protocol = 1
	case protocol == "icmp":
		q.Protocol = 58
	case protocol == "tcp":
		q.Protocol = 6
	case protocol == "udp":
		q.Protocol = 17
	default:
		return q, fmt.Errorf("--protocol %q: want tcp, udp, icmp or a number", protocol)
	}
	return q, nil
}

// podAddress is the address of a pod of a family. A pod that is given by its name is looked up in the cluster, else in what
// the agent has kept.
func (a *access) podAddress(ctx context.Context, runDir, pod string, v4 bool) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(pod); err == nil {
		if addr = addr.Unmap(); addr.Is4() != v4 {
			return addr, fmt.Errorf("--pod %s and --to are not of the same IP version", pod)
		}
		return addr, nil
	}
	namespace, name, ok := strings.Cut(pod, "/")
	if !ok || namespace == "" || name == "" {
		return netip.Addr{}, fmt.Errorf("pod %q: want NAMESPACE/NAME or an address", pod)
	}
	found, err := a.pod(ctx, namespace, name)
	if err != nil {
		var kept error
		if found, kept = keptPod(runDir, namespace, name); kept != nil {
			return netip.Addr{}, fmt.Errorf("pod %s: %w", pod, errors.Join(err, kept))
		}
	}
	if found.Spec.HostNetwork {
		return netip.Addr{}, fmt.Errorf("pod %s is in the network of its node: it has no address of its own", pod)
	}
	for _, ip := range found.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is4() == v4 {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("pod %s has no address of the IP version of --to", pod)
}

func (a *access) pod(ctx context.Context, namespace, name string) (corev1.Pod, error) {
	var pod corev1.Pod
	r, err := a.open()
	if err != nil {
		return pod, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return pod, r.core.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(&pod)
}

// keptPod looks into the snapshot that the agent keeps for a start without the API server.
func keptPod(runDir, namespace, name string) (corev1.Pod, error) {
	text, err := os.ReadFile(filepath.Join(runDir, "snapshot.json"))
	if err != nil {
		return corev1.Pod{}, fmt.Errorf("the agent has kept no snapshot: %w", err)
	}
	var record struct{ Snapshot agent.Snapshot }
	if err := json.Unmarshal(text, &record); err != nil {
		return corev1.Pod{}, fmt.Errorf("the agent's snapshot: %w", err)
	}
	i := slices.IndexFunc(record.Snapshot.Pods, func(p corev1.Pod) bool { return p.Namespace == namespace && p.Name == name })
	if i < 0 {
		return corev1.Pod{}, errors.New("the agent does not know it: it watches pods of this node only, and only if a policy selects pods")
	}
	return record.Snapshot.Pods[i], nil
}

// sourceView is with which source a packet leaves, what is wanted, and why it is so.
type sourceView struct {
	Pod         string     `json:"pod"`
	Address     netip.Addr `json:"address"`
	Destination netip.Addr `json:"destination"`
	audit.Answer
	Policy  string     `json:"policy,omitempty"` // that decides; empty: none
	Want    nat.Source `json:"want"`             // Pod, if no policy decides
	OK      bool       `json:"ok"`
	Rule    *ruleView  `json:"rule,omitempty"` // that decides; none: the packet is left alone
	Gateway string     `json:"egressGateway,omitempty"`
	// NotEvaluated are base chains that the packet meets too, which might mark or drop it.
	NotEvaluated []string `json:"notEvaluated"`
}

// ruleView is a rule and where it is.
type ruleView struct {
	Tool   string `json:"tool"`
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Handle uint64 `json:"handle,omitempty"`
	Line   int    `json:"line"`
	Owner  string `json:"owner"` // guessed from names
	Text   string `json:"text"`
}

func sourceOf(ctx context.Context, pod string, q audit.Question, status agent.Status) (*sourceView, error) {
	rules := host.Read(ctx, q.Version(), true)
	answer, err := host.Ask(rules, q)
	if err != nil {
		return nil, err
	}
	v := &sourceView{Pod: pod, Address: q.Pod, Destination: q.To, Answer: answer, Want: nat.SourcePod, NotEvaluated: list(rules.NotFollowed)}
	if policy := agent.Deciding(status.Policies, status.Pods, q.Pod, answer.To); policy != nil {
		v.Policy, v.Want = policy.Name, agent.Wanted(*policy, q.Pod)
	}
	v.OK = answer.Kind == audit.Stays || agent.Satisfied(v.Want, q.Pod, answer)
	if r := answer.Rule; r != nil {
		v.Rule = &ruleView{r.Chain.Tool, r.Chain.Family, r.Chain.Table, r.Chain.Chain, r.Handle, r.Line, r.Owner(), r.Text}
	}
	for _, e := range status.Egress {
		if answer.Out == route.TunnelDevice(e.VNI) {
			as := "its node's address"
			if e.Address.IsValid() {
				as = e.Address.String()
			}
			v.Gateway = fmt.Sprintf("goes to gateway %s by tunnel %s, leaves there as %s", e.Gateway, answer.Out, as)
		}
	}
	return v, nil
}

func (v *sourceView) print(w io.Writer) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "Pod %s to %s\n\nWHERE\tWHAT HAPPENS\tRULE\n", v.Address, v.Destination)
	for _, step := range v.Steps {
		fmt.Fprintf(p, "%s\t%s\t%s\n", step.Where, step.What, step.Rule)
	}
	if err := p.Flush(); err != nil {
		return err
	}
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("")
	for _, note := range v.Notes {
		line("Note: %s", note)
	}
	if len(v.NotEvaluated) > 0 {
		line("Not evaluated, might mark or drop it: %s", strings.Join(v.NotEvaluated, "; "))
	}
	for _, o := range v.Possible {
		line("Possible: %s", o)
	}
	want := "the pod's address"
	if v.Policy != "" {
		want = fmt.Sprintf("%s, by policy %s", v.Want, v.Policy)
	}
	source := v.Outcome.String()
	if v.Answer.Source.IsValid() {
		source = v.Answer.Source.String()
	}
	line("Source: %s", source)
	line("Wanted: %s", want)
	if v.Gateway != "" {
		line("Then: %s", v.Gateway)
	}
	if v.Rule != nil {
		line("Decided by: %s", v.Answer.Rule)
	}
	if !v.OK {
		line("This is not what is wanted")
	}
	return nil
}
