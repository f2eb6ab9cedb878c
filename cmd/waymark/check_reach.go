package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/internal/podnet"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/dial"
)

func checkReachCommand() *cobra.Command {
	var from facts
	var start, to, protocol, runDir, output string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "reach --from here|pod:NAMESPACE/NAME|node --to ADDRESS:PORT",
		Short: "Whether a TCP connection can be opened, and where it breaks if not",
		Long: `Whether a TCP connection can be opened from here, or from inside a pod of this node, and where it breaks if not. With --protocol
it asks the other side as that protocol does, without calling anything: dubbo, tri, grpc, http or rest.

From a pod it runs as root on the pod's node, in the network namespace of the pod. As --from node it makes sure that this is the
network namespace of the node. The address is judged by what the cluster says of it: whose it is, who announces it.

Exit status: 0 it is reached, 2 it is not, 1 this cannot be checked.`,
		Example: `  waymark check reach --from here --to 10.244.1.7:20880 --protocol dubbo
  waymark check reach --from pod:shop/greeter-0 --to 10.132.7.20:2181
  waymark check reach --from node --to '[2001:db8::1]:443' --offline -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, port, err := destination(to)
			if err != nil {
				return err
			}
			if timeout <= 0 {
				return errors.New("--timeout: want more than 0")
			}
			if asked := []string{"dubbo", "tri", "grpc", "http", "rest"}; protocol != "" && !slices.Contains(asked, protocol) {
				return fmt.Errorf("--protocol %s: want one of %s; leave it out if an open port will do", protocol, strings.Join(asked, ", "))
			}
			origin, err := from.origin(cmd.Context(), start, runDir, host)
			if err != nil {
				return err
			}
			defer origin.close()
			cluster, notes, err := from.read(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			view := reach(cmd.Context(), &cluster, origin, registry.Provider{Host: host, Port: port, Protocol: protocol}, timeout)
			view.From, view.Notes = start, list(notes)
			if err := show(cmd.OutOrStdout(), output, view, view.print); err != nil {
				return err
			}
			if len(view.Findings) > 0 {
				return errFound
			}
			return nil
		},
	}
	from.flagsWith(cmd, "objects")
	cmd.Flags().StringVar(&start, "from", "here", "`where` to connect from: here, node, pod:NAMESPACE/NAME or pod:ADDRESS")
	cmd.Flags().StringVar(&to, "to", "", "the destination, as `ADDRESS:PORT`")
	cmd.Flags().StringVar(&protocol, "protocol", "", "`protocol` to ask by: dubbo, tri, grpc, http or rest; absent: an open port will do")
	cmd.Flags().StringVar(&runDir, "run-dir", "/run/waymark", "the agent's run `directory`, for pods that no API server is asked for")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "for the connection, and for the answer")
	_ = cmd.MarkFlagRequired("to") // the flag is there
	outputFlag(cmd, &output)
	return cmd
}

// destination understands ADDRESS:PORT and NAME:PORT.
func destination(to string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(to)
	number, bad := strconv.ParseUint(text, 10, 16)
	if err != nil || bad != nil || number == 0 || host == "" {
		return "", 0, fmt.Errorf("--to %q: want ADDRESS:PORT, of IPv6 [ADDRESS]:PORT", to)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return host, uint16(number), nil
}

// origin is a place that connections are opened from.
type origin struct {
	dial.Dialer
	tracer  registry.Tracer // nil: this user may not
	pod     netip.Addr      // zero: it is none
	cleanup []func()
}

func (o *origin) close() {
	for _, c := range o.cleanup {
		c()
	}
}

func (f *facts) origin(ctx context.Context, start, runDir, host string) (*origin, error) {
	o := &origin{Dialer: dial.Dialer{Connect: (&net.Dialer{KeepAlive: -1}).DialContext}}
	pod, isPod := strings.CutPrefix(start, "pod:")
	switch {
	case isPod:
		return o, f.enter(ctx, o, pod, runDir, host)
	case start == "node":
		if err := onNode(); err != nil {
			return nil, err
		}
	case start != "here":
		return nil, fmt.Errorf("--from %q: want here, node, or pod:NAMESPACE/NAME", start)
	}
	o.listen(dial.Listen())
	return o, nil
}

// listen keeps a listener, if there may be one: without the right to it less is known of why something is not reached.
func (o *origin) listen(listener *dial.Listener, err error) {
	if err == nil {
		o.Listener, o.tracer = listener, dial.Tracer{Listener: listener}
		o.cleanup = append(o.cleanup, listener.Close)
	}
}

func (f *facts) enter(ctx context.Context, o *origin, pod, runDir, host string) error {
	to, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("--to %s: from a pod only addresses can be reached, as names mean something else there", host)
	}
	if o.pod, err = f.podAddress(ctx, runDir, pod, to.Is4()); err != nil {
		return fmt.Errorf("--from pod:%s: %w", pod, err)
	}
	space, err := podnet.Find(o.pod)
	if err != nil {
		return fmt.Errorf("--from pod:%s: %w", pod, err)
	}
	o.cleanup = append(o.cleanup, func() { _ = space.Close() })
	o.Connect = space.DialContext
	var listener *dial.Listener
	err = space.Do(func() (err error) {
		listener, err = dial.Listen()
		return err
	})
	o.listen(listener, err)
	if o.tracer != nil {
		o.tracer = inside{space, o.tracer}
	}
	return nil
}

// inside traces from the network namespace of a pod.
type inside struct {
	space  *podnet.Namespace
	tracer registry.Tracer
}

// Trace implements registry.Tracer.
func (i inside) Trace(ctx context.Context, addr netip.Addr, port uint16) (last netip.Addr) {
	_ = i.space.Do(func() error {
		last = i.tracer.Trace(ctx, addr, port)
		return nil
	})
	return last
}

// onNode makes sure that this is the network of the host's first process.
func onNode() error {
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("--from node: %w", err)
	}
	first, err := os.Readlink("/proc/1/ns/net")
	if err != nil {
		return fmt.Errorf("--from node: cannot tell whether this is the node's network: %w", err)
	}
	if ours != first {
		return errors.New("--from node: this is not the network namespace of the node's first process: run it with nsenter -t 1 -n")
	}
	return nil
}

// reachView is how far a connection has come.
type reachView struct {
	From string `json:"from"`
	registry.Endpoint
	Notes []string `json:"notes"` // what is not known

	unknown string // why it is not known who has the prefix; empty: it is
}

func reach(ctx context.Context, cluster *registry.Cluster, o *origin, to registry.Provider, timeout time.Duration) *reachView {
	answers := registry.Survey{Dialer: o, Dials: 1, Timeout: timeout, Tracer: o.tracer}.Run(ctx, []registry.Target{to.Target()})
	answer := answers[to.Target()]
	endpoints := registry.Judge(*cluster, []registry.Provider{to}, answers)
	v := &reachView{Endpoint: endpoints[0]}
	for _, n := range cluster.Nodes {
		if n.Name == v.Node {
			v.unknown = n.Unknown
		}
	}
	v.Providers = []registry.Provider{} // nobody has registered it
	if v.Reachable() {
		v.Findings = []registry.Finding{} // whatever kind of address it is
	} else if back, lost := cluster.WayBack(o.pod); lost && answer.Reach == registry.NoAnswer {
		v.Findings = []registry.Finding{back}
	}
	return v
}

func (v *reachView) print(w io.Writer) error {
	p := tabwriter.NewWriter(visible{w}, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "from\t%s\nto\t%s\nwhose\t%s\n", v.From, v.Address(), whose(&v.Endpoint))
	switch {
	case v.unknown != "" && v.Prefix != "":
		fmt.Fprintf(p, "announced\t%s: not known: %s\n", v.Prefix, v.unknown)
	case v.Prefix != "":
		fmt.Fprintf(p, "announced\t%s to %s\n", v.Prefix, orNone(strings.Join(v.Announced, ", ")))
	}
	for _, a := range v.Answers {
		answer := string(a.Reach)
		if a.Duration > 0 {
			answer += " in " + a.Duration.Round(10*time.Microsecond).String()
		}
		if a.Speech == registry.Speaks {
			answer += ", speaks " + a.Protocol
		}
		fmt.Fprintf(p, "answer\t%s%s\n", answer, because(a.Detail))
		if a.Last.IsValid() {
			fmt.Fprintf(p, "packets\tcome as far as %s\n", a.Last)
		}
	}
	for _, f := range v.Findings {
		fmt.Fprintf(p, "%s\t%s\n", f.Reason, f.Message)
	}
	for _, n := range v.Notes {
		fmt.Fprintf(p, "note\t%s\n", n)
	}
	return p.Flush()
}
