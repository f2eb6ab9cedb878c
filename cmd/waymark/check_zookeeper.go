package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/internal/podnet"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

func checkZooKeeperCommand() *cobra.Command {
	var from facts
	var options registryOptions
	var asker zookeeper.Asker
	var pod, runDir, output string
	var all bool
	cmd := &cobra.Command{
		Use:   "zookeeper HOST[:PORT]...",
		Short: "As whom ZooKeeper sees its clients, and how near each is to the limit of connections",
		Long: `As whom ZooKeeper sees its clients, and how near each is to maxClientCnxns, the connections that one address may have: a
node that masquerades its pods is one address. Servers of the ensemble that are not named are asked too.

It says the four-letter words conf, cons, srvr and mntr, and where those are closed asks the AdminServer. Each address is
looked up in the cluster: an address of a node that holds sessions is that of its pods. A forecast says with how many pods
masquerading breaks. Nothing is written.

With --from-pod, as root on the node of the pod, it opens a session to each server from inside the pod's network namespace, and
shows the address that the server sees.

Exit status: 0 nothing is near its limit and no pod is masqueraded, 2 findings, also a server that cannot be asked, 1 no server
or not the cluster could be asked.`,
		Example: `  waymark check zookeeper 10.132.7.20:2181
  waymark check zookeeper 10.132.7.20 --from-pod shop/cart-0
  waymark check zookeeper zk.example.com --offline -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("which ZooKeeper? name a server, or several: HOST[:PORT]")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := serverNames(args)
			if err != nil {
				return err
			}
			if asker.Timeout <= 0 {
				return errors.New("--timeout: want more than 0")
			}
			cluster, notes, err := from.read(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			if asker.TLS, err = options.tls(); err != nil {
				return err
			}
			var inside *insidePod
			if pod != "" {
				if inside, err = enterPod(cmd.Context(), &from.access, cluster, runDir, pod); err != nil {
					return err
				}
				defer inside.Close()
			}
			servers, failed := asker.AskEnsemble(cmd.Context(), names)
			if err := noneAsked(servers, failed); err != nil {
				return err
			}
			report := newZooKeeperReport(cluster, servers, failed, notes)
			if inside != nil {
				report.look(cmd.Context(), asker, cluster, inside)
			}
			report.all = all
			if err := show(cmd.OutOrStdout(), output, report, report.print); err != nil {
				return err
			}
			if len(report.Findings) > 0 {
				return errFound
			}
			return nil
		},
	}
	from.flags(cmd)
	options.flagsTLS(cmd)
	outputFlag(cmd, &output)
	f := cmd.Flags()
	f.StringVar(&pod, "from-pod", "", "the pod to connect from, as `NAMESPACE/NAME` or by its address")
	f.StringVar(&runDir, "run-dir", "/run/waymark", "the agent's run `directory`, for the address of a pod when there is no cluster to ask")
	f.DurationVar(&asker.Timeout, "timeout", 5*time.Second, "for each question to a server")
	f.Uint16Var(&asker.AdminPort, "admin-port", 8080, "`port` of the servers' AdminServer")
	f.BoolVar(&all, "all", false, fmt.Sprintf("print all addresses, forecasts and findings, not only the first %d of each; json always has all", shownClients))
	return cmd
}

const zooKeeperPort = 2181

// serverNames are HOST:PORT.
func serverNames(args []string) ([]string, error) {
	var list []string
	for _, arg := range slices.Collect(strings.SplitSeq(strings.Join(args, ","), ",")) {
		name := arg
		if _, err := netip.ParseAddr(strings.Trim(arg, "[]")); err == nil || !strings.Contains(arg, ":") {
			name = net.JoinHostPort(strings.Trim(arg, "[]"), strconv.Itoa(zooKeeperPort))
		}
		host, port, err := net.SplitHostPort(name)
		if n, numeric := strconv.ParseUint(port, 10, 16); err != nil || numeric != nil || n == 0 || host == "" || strings.Contains(host, "/") {
			return nil, fmt.Errorf("%q: want HOST or HOST:PORT, of IPv6 [ADDRESS]:PORT", arg)
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list, nil
}

// noneAsked is an error if there is nothing to judge.
func noneAsked(servers []registry.Server, failed map[string]error) error {
	if slices.ContainsFunc(servers, func(s registry.Server) bool { return failed[s.Name] == nil || len(s.Connections) > 0 }) {
		return nil
	}
	var all []error
	for _, s := range servers {
		all = append(all, failed[s.Name])
	}
	return errors.Join(all...)
}

// insidePod is a pod on this host, entered.
type insidePod struct {
	*podnet.Namespace
	name      string
	addresses []netip.Addr
}

// enterPod finds a pod, which is NAMESPACE/NAME or an address, in what is known of the cluster, else as podAddress does.
func enterPod(ctx context.Context, from *access, cluster registry.Cluster, runDir, pod string) (*insidePod, error) {
	p := &insidePod{name: pod}
	if addr, err := netip.ParseAddr(pod); err == nil {
		p.name, p.addresses = cmp.Or(cluster.Pods[addr.Unmap()], pod), []netip.Addr{addr.Unmap()}
	}
	for addr, name := range cluster.Pods {
		if name == pod {
			p.addresses = append(p.addresses, addr)
		}
	}
	if len(p.addresses) == 0 {
		four, err4 := from.podAddress(ctx, runDir, pod, true)
		six, err6 := from.podAddress(ctx, runDir, pod, false)
		if err4 != nil && err6 != nil {
			return nil, err4
		}
		p.addresses = slices.DeleteFunc([]netip.Addr{four, six}, func(a netip.Addr) bool { return !a.IsValid() })
	}
	namespace, err := podnet.Find(p.addresses[0])
	if errors.Is(err, podnet.ErrNotHere) {
		err = fmt.Errorf("pod %s is not on this host: %w; run this on %s", pod, err, cmp.Or(nodeOfPod(cluster, p.addresses[0]), "its node"))
	}
	p.Namespace = namespace
	return p, err
}

func nodeOfPod(cluster registry.Cluster, pod netip.Addr) string {
	for i := range cluster.Nodes {
		if slices.ContainsFunc(cluster.Nodes[i].PodCIDRs, func(c netip.Prefix) bool { return c.Contains(pod) }) {
			return cluster.Nodes[i].Name
		}
	}
	return ""
}

// seenAs is the address that a server sees when the pod connects, and the pod's own.
func (p *insidePod) seenAs(ctx context.Context, asker zookeeper.Asker, server string) (own, seen netip.Addr, err error) {
	return asker.SeenFrom(ctx, p, p.addresses, server)
}
