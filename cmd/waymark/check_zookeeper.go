package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/internal/podnet"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

func checkZooKeeperCommand() *cobra.Command {
	var from facts
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
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := serverNames(args)
			if err != nil {
				return err
			}
			cluster, notes, err := from.read(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			servers, failed := askEnsemble(cmd.Context(), asker, names)
			if err := noneAsked(servers, failed); err != nil {
				return err
			}
			report := newZooKeeperReport(cluster, servers, failed, notes)
			if pod != "" {
				inside, err := podOf(cmd.Context(), &from.access, cluster, runDir, pod)
				if err != nil {
					return err
				}
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
	outputFlag(cmd, &output)
	f := cmd.Flags()
	f.StringVar(&pod, "from-pod", "", "the pod to connect from, as `NAMESPACE/NAME` or by its address")
	f.StringVar(&runDir, "run-dir", "/run/waymark", "the agent's run `directory`, for the address of a pod when there is no cluster to ask")
	f.DurationVar(&asker.Timeout, "timeout", 5*time.Second, "for each question to a server")
	f.Uint16Var(&asker.AdminPort, "admin-port", 8080, "`port` of the servers' AdminServer")
	f.BoolVar(&all, "all", false, fmt.Sprintf("print all client addresses, not only the first %d; json always has all", shownClients))
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

// askEnsemble asks the servers, and those that they say belong to them.
func askEnsemble(ctx context.Context, asker zookeeper.Asker, names []string) ([]registry.Server, map[string]error) {
	servers, failed := askServers(ctx, asker, names)
	more := unnamed(servers, names)
	others, failures := askServers(ctx, asker, more)
	maps.Copy(failed, failures)
	return append(servers, others...), failed
}

func askServers(ctx context.Context, asker zookeeper.Asker, names []string) ([]registry.Server, map[string]error) {
	servers, failures := make([]registry.Server, len(names)), make([]error, len(names))
	var asking sync.WaitGroup
	for i, name := range names {
		asking.Go(func() { servers[i], failures[i] = asker.Ask(ctx, name) })
	}
	asking.Wait()
	failed := map[string]error{}
	for i, err := range failures {
		if err != nil {
			failed[names[i]] = err
		}
	}
	return servers, failed
}

// unnamed are members of ensembles that were not asked yet. One that was asked by another name is known by its ID.
func unnamed(servers []registry.Server, names []string) []string {
	var more []string
	for i := range servers {
		s := &servers[i]
		for id, address := range s.Members {
			asked := slices.ContainsFunc(servers, func(t registry.Server) bool { return t.ID == id && maps.Equal(t.Members, s.Members) })
			if !asked && !slices.Contains(names, address) && !slices.Contains(more, address) {
				more = append(more, address)
			}
		}
	}
	slices.Sort(more)
	return more
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

// insidePod is a pod on this host.
type insidePod struct {
	name      string
	addresses []netip.Addr
}

// podOf finds the addresses of a pod in what is known of the cluster, else as podAddress does.
func podOf(ctx context.Context, from *access, cluster registry.Cluster, runDir, pod string) (insidePod, error) {
	p := insidePod{name: pod}
	if addr, err := netip.ParseAddr(pod); err == nil {
		p.addresses = []netip.Addr{addr.Unmap()}
		p.name = cmp.Or(cluster.Pods[addr.Unmap()], pod)
		return p, nil
	}
	for addr, name := range cluster.Pods {
		if name == pod {
			p.addresses = append(p.addresses, addr)
		}
	}
	if len(p.addresses) > 0 {
		return p, nil
	}
	for _, v4 := range []bool{true, false} {
		addr, err := from.podAddress(ctx, runDir, pod, v4)
		if err == nil {
			p.addresses = append(p.addresses, addr)
		} else if !v4 && len(p.addresses) == 0 {
			return p, err
		}
	}
	return p, nil
}

// seenAs is the address that a server sees when the pod connects, and the pod's own.
func (p insidePod) seenAs(ctx context.Context, asker zookeeper.Asker, cluster registry.Cluster, server string) (own, seen netip.Addr, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*asker.Timeout)
	defer cancel()
	to, err := (&net.Resolver{}).LookupNetIP(ctx, "ip", hostOf(server))
	if err != nil {
		return own, seen, err
	}
	for _, t := range to {
		at := slices.IndexFunc(p.addresses, func(a netip.Addr) bool { return a.Is4() == t.Unmap().Is4() })
		if at < 0 {
			continue
		}
		own = p.addresses[at]
		seen, err = seenFrom(ctx, asker, own, netip.AddrPortFrom(t.Unmap(), portOf(server)))
		if i := slices.IndexFunc(cluster.Nodes, func(n registry.Node) bool {
			return slices.ContainsFunc(n.PodCIDRs, func(c netip.Prefix) bool { return c.Contains(own) })
		}); errors.Is(err, podnet.ErrNotHere) && i >= 0 {
			err = fmt.Errorf("%w: pod %s is on node %s, run this there", err, p.name, cluster.Nodes[i].Name)
		}
		return own, seen, err
	}
	return own, seen, fmt.Errorf("pod %s has no address of the IP version of %s", p.name, server)
}

func seenFrom(ctx context.Context, asker zookeeper.Asker, own netip.Addr, server netip.AddrPort) (netip.Addr, error) {
	namespace, err := podnet.Find(own)
	if err != nil {
		return netip.Addr{}, err
	}
	defer namespace.Close()
	return asker.SeenAs(ctx, namespace, server.String())
}

func hostOf(server string) string {
	host, _, _ := net.SplitHostPort(server) // it was put together so
	return host
}

func portOf(server string) uint16 {
	_, port, _ := net.SplitHostPort(server)
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}
