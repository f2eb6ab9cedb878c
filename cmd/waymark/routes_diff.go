package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
)

func routesDiffCommand() *cobra.Command {
	var from access
	var options diffOptions
	cmd := &cobra.Command{
		Use:   "diff --running FILE",
		Short: "What keeps a router's static routes from being those that the cluster needs",
		Long: `What keeps a router's static routes from being those that "routes export" writes. FILE is what the router itself shows:
show running-config, display current-configuration, show configuration | display set, /ip route export, ip route show, bird.conf.
All of it or the part with static routes; of a new router, which has none yet, all. Its routing table is refused.

Printed are, each with the commands that put it right:

  missing    no route to the prefix is there
  near miss  the wanted route is missing, and one like it is there: a digit too many, too few, another or doubled, two digits
             that have changed places, another mask. With a guess at the mistake
  wrong      the prefix is there, with another next hop, or without an option that a flag asks for. Names are not compared
  overlap    a route that covers wanted prefixes, or takes a part of one
  remove     a route inside the cluster's ranges that is for no node
  not read   a line that looks like a static route and cannot be read: whether the router is in step cannot be told then

The cluster's ranges are those of --within; without it those of the DatacenterNetwork's clusterCIDRs that hold PodCIDRs; without
them the wanted prefixes alone, and then routes of nodes that are gone are not found. PodCIDRs of nodes that the gateway does
not reach, the datacenter's networks and AddressPools are never part of them. Static routes outside are foreign: counted, and
never touched; so are routes that discard what is left of a range, and other VRFs. The one exception is a near miss whose next hop
is a node's address. It is removed, after a comment, when that is the node of the missing route and it does not cover that route,
else it is only shown.

--fix prints nothing but commands, for review and then for the router: first what is to be there, then, the longest prefixes
first, the undo of what is not. No wanted prefix that has a route is without one in between. Until its undo a wrong next hop gets a
part of the packets, as equal-cost paths do; linux (ip -batch) and openbsd replace it in one step. Of bird, json and csv, which
are no commands, --fix prints the new whole, without foreign routes.

Exit status: 0 in step, 2 there are differences, or a line could not be read, or a PodCIDR has no route, 1 error.`,
		Example: `  # what is wrong on core1, whose dialect the DatacenterNetwork says
  waymark routes diff --gateway core1 --running core1.cfg

  # from files in place of the cluster, and commands only
  ssh core1 'vtysh -c "show running-config"' | waymark routes diff --from cluster.json --gateway core1 --format frr --running - --fix`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := options.report(cmd.Context(), cmd.InOrStdin(), &from)
			if err != nil {
				return err
			}
			return options.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), r)
		},
	}
	from.flags(cmd)
	options.flags(cmd)
	cmd.Flags().Lookup("format").Usage = "`format` of FILE; default: the dialect of the gateway"
	cmd.Flags().Lookup("gateway").Usage = "`name` of the gateway whose configuration FILE is; may be left out if there is one only"
	return cmd
}

type diffOptions struct {
	exportOptions
	running, output string
	within          []string
	fix             bool
}

func (o *diffOptions) flags(cmd *cobra.Command) {
	o.exportOptions.flags(cmd)
	cmd.Flags().StringVar(&o.running, "running", "", "`file` with what the router has, or - for standard input")
	cmd.Flags().StringSliceVar(&o.within, "within", nil, "`prefix` in which all static routes are the cluster's; may be repeated")
	cmd.Flags().BoolVar(&o.fix, "fix", false, "print nothing but the commands that put all right")
	outputFlag(cmd, &o.output)
}

// report compares a router with the cluster.
func (o *diffOptions) report(ctx context.Context, stdin io.Reader, from *access) (*diffReport, error) {
	switch {
	case o.running == "":
		return nil, errors.New("--running is missing: name a file with what the router shows as its configuration, or - for standard input")
	case o.running == "-" && o.from == "-":
		return nil, errors.New("--from - and --running - both want standard input: put one of them into a file")
	case o.fix && o.output != "text":
		return nil, errors.New("--fix prints commands, not " + o.output + ": leave one of --fix and -o out")
	}
	given, err := parsePrefixes(o.within)
	if err != nil {
		return nil, err
	}
	name := o.running
	if name == "-" {
		name = "standard input"
	}
	text, err := readRunning(stdin, o.running, name)
	if err != nil {
		return nil, err
	}
	c, err := o.read(ctx, stdin, from)
	if err != nil {
		return nil, err
	}
	want, err := agent.WantStaticRoutes(c.nodes, c.datacenters, o.gateway)
	if err != nil {
		return nil, err
	}
	if len(want.Gateways) > 1 {
		var all []string
		for _, g := range want.Gateways {
			all = append(all, g.Name)
		}
		return nil, fmt.Errorf("%s is of one router, and the DatacenterNetwork has several gateways: say with --gateway which of %s it is", name, names(all))
	}
	r := &diffReport{Gateway: want.Gateways[0].Name, Format: cmp.Or(o.format, want.Gateways[0].Dialect), Missing: want.Missing}
	if err := r.read(text, name); err != nil {
		return nil, err
	}
	r.narrow = len(given) == 0 && !slices.ContainsFunc(c.datacenters, func(d v1alpha1.DatacenterNetwork) bool { return len(d.Spec.ClusterCIDRs) > 0 })
	plain := want.Routes[r.Gateway]
	if err := r.compare(o.common.Apply(plain), agent.StaticRanges(given, c.nodes, c.datacenters, c.pools, plain)); err != nil {
		return nil, err
	}
	return r, nil
}

func parsePrefixes(list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Bits() == 0 {
			return nil, fmt.Errorf("--within %s: want a prefix without host bits, as 10.131.0.0/16 or fd00:131::/48", text)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// pager is what a pager of a terminal leaves in what is copied from it.
var pager = regexp.MustCompile(`(?i)(<?-{2,5} ?more ?-{2,5}>?)(\([^)\n]*\))?[ \x08\r]*(\x1b\[[0-9;]*[A-Za-z][ \x08]*)*`)

// readRunning reads what a router has shown, whatever terminals and editors have done to it.
func readRunning(stdin io.Reader, path, name string) (string, error) {
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("read what the router has: %w", err)
	}
	if err := isText(data, name); err != nil {
		return "", err
	}
	text := strings.TrimPrefix(string(data), "\xef\xbb\xbf")
	if strings.TrimSpace(text) == "" {
		return "", fmt.Errorf("%s is empty, which says nothing: of a router without static routes give the whole configuration", name)
	}
	return pager.ReplaceAllString(strings.ReplaceAll(text, "\r\n", "\n"), ""), nil
}

// isText refuses what no router shows: with zero bytes it would be read as a text in which there is no route.
func isText(data []byte, name string) error {
	if bytes.IndexByte(data, 0) >= 0 || bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return fmt.Errorf("%s is no text, or in UTF-16, as PowerShell writes it: save it as UTF-8", name)
	}
	return nil
}

// read reads the router's text, and says so when it is another router's.
func (r *diffReport) read(text, name string) error {
	have, unread, err := export.Parse(r.Format, text)
	if err == nil && len(have) > 0 {
		r.have, r.Unread = have, unread
		return nil
	}
	if err != nil && !slices.Contains(export.Dialects(), r.Format) {
		return err
	}
	var like []string // the dialects in which there is most to be read
	most := 0
	for _, other := range export.Dialects() {
		found, odd, err := export.Parse(other, text)
		if err != nil || len(odd) > len(unread) || len(found) == 0 || len(found) < most {
			continue
		}
		if len(found) > most {
			like, most = nil, len(found)
		}
		like = append(like, other)
	}
	if most > 0 {
		return fmt.Errorf("%s has no static route in %s; it looks like %s, in which it has %d: say with --format which it is",
			name, r.Format, strings.Join(like, " or "), most)
	}
	if r.Format != "linux" && r.Format != "openbsd" && isTable(text) { // these two show it as their configuration
		return fmt.Errorf("%s has no static route in %s; it looks like a routing table: give what the router shows as its configuration", name, r.Format)
	}
	r.Unread, r.bare = unread, name
	return err
}

// isTable says that most lines are those of a routing table. Configurations have some that can be taken for such, in filters.
func isTable(text string) bool {
	table, err := export.ReadTable(text)
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	return err == nil && len(table.Routes)*2 > len(lines)
}

func (r *diffReport) compare(want []export.Route, within []netip.Prefix) error {
	if _, err := export.Render(r.Format, want); err != nil { // an option that the dialect has not
		return fmt.Errorf("gateway %s: %w", r.Gateway, err)
	}
	r.have = slices.DeleteFunc(r.have, func(h export.Static) bool { return h.Gateway != "" && h.Gateway != r.Gateway })
	r.want, r.difference = want, export.Diff(want, r.have, within)
	r.Right, r.Foreign = r.difference.Right, r.difference.Foreign
	return nil
}
