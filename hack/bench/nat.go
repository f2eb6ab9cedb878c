package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/iptables"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

// What is forwarded: new connections, each of one packet, and packets of one connection.
const (
	newFlows   = 60_000
	onePackets = 200_000
	// patience ends what takes too long to be waited for.
	patience = 30 * time.Second

	sourceNet   = "10.244.0.0/16"
	sourceAddr  = "10.244.0.2"
	lastEntries = 10_000
)

// masters are who may decide source addresses: our backends, and what people write by hand.
var masters = []master{
	{name: "Waymark, nftables", backend: func() nattest.Backend { return nftables.New() }},
	{name: "Waymark, iptables-nft", backend: func() nattest.Backend { return iptables.New(iptables.NFT) }},
	{name: "Waymark, iptables-legacy", backend: func() nattest.Backend { return iptables.New(iptables.Legacy) }},
	{name: "iptables-nft -A per prefix", command: "iptables-nft"},
	{name: "iptables-legacy -A per prefix", command: "iptables-legacy"},
}

type master struct {
	name    string
	backend func() nattest.Backend
	command string // with which rules are added one by one
}

// entries are n destination prefixes that cannot be merged.
func entries(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 7), byte(i << 1), 0}), 24)
	}
	return list
}

// onePolicy keeps the pods' addresses toward n prefixes.
func onePolicy(n int) nat.Plan {
	return nat.Plan{
		Pods:     []netip.Prefix{netip.MustParsePrefix(sourceNet)},
		Policies: []nat.Policy{{Name: "keep", Source: nat.SourcePod, Destinations: entries(n)}},
	}
}

// manyPolicies is 1,000 policies with ten prefixes each, a tenth of them about 5,000 pods in all.
func manyPolicies() nat.Plan {
	plan := onePolicy(1)
	plan.Policies = nil
	all := entries(lastEntries)
	pod := netip.MustParseAddr("10.244.1.0")
	for i := range 1000 {
		policy := nat.Policy{Name: fmt.Sprint("policy", i), Priority: i, Source: nat.SourcePod, Destinations: all[10*i : 10*i+10]}
		if i%10 == 0 {
			policy.Selects = true
			for range 50 {
				policy.Pods = append(policy.Pods, pod)
				pod = pod.Next()
			}
		}
		plan.Policies = append(plan.Policies, policy)
	}
	return plan
}

// applied is how long a plan took.
type applied struct {
	full, change time.Duration
	unfinished   int // rules that were not there yet when patience ended; 0: all were
	rules        int
}

// forwarded is how many packets a second crossed the node.
type forwarded struct{ fresh, one float64 }

// apply measures a plan on an empty node, and a change of one prefix of it.
func (m master) apply(s *measure.Scope, plan nat.Plan) applied {
	nattest.Flush(s)
	defer nattest.Flush(s)
	if m.backend == nil {
		return m.add(s, plan.Policies[0].Destinations)
	}
	b := m.backend()
	begin := time.Now()
	nattest.Apply(s, b, plan)
	a := applied{full: time.Since(begin)}
	a.rules = rules(s)
	changed := plan
	changed.Policies = append([]nat.Policy{}, plan.Policies...)
	changed.Policies[0].Destinations = append([]netip.Prefix{netip.MustParsePrefix("12.0.0.0/24")}, plan.Policies[0].Destinations[1:]...)
	begin = time.Now()
	nattest.Apply(s, b, changed)
	a.change = time.Since(begin)
	s.Check(b.Remove(context.Background()), "remove the rules")
	return a
}

// add adds one rule for each prefix, as scripts do, and then one more.
func (m master) add(s *measure.Scope, list []netip.Prefix) (a applied) {
	begin := time.Now()
	for i, p := range list {
		nettest.Run(s, m.command, m.rule("-A", p)...)
		if time.Since(begin) > patience {
			a.unfinished = len(list) - i - 1
			break
		}
	}
	a.full, a.rules = time.Since(begin), len(list)-a.unfinished
	begin = time.Now()
	nettest.Run(s, m.command, m.rule("-A", netip.MustParsePrefix("12.0.0.0/24"))...)
	a.change = time.Since(begin)
	return a
}

func (m master) rule(verb string, p netip.Prefix) []string {
	return []string{"-t", "nat", verb, "POSTROUTING", "-s", sourceNet, "-d", p.String(), "-j", "ACCEPT"}
}

// load puts all rules there at once, to see what they cost a packet.
func (m master) load(s *measure.Scope, n int) {
	if m.backend != nil {
		nattest.Apply(s, m.backend(), onePolicy(n))
		return
	}
	var text strings.Builder
	text.WriteString("*nat\n")
	for _, p := range entries(n) {
		fmt.Fprintln(&text, strings.Join(m.rule("-A", p)[2:], " "))
	}
	// What those rules are exceptions of; without it connections are not tracked, and nobody asks table nat.
	fmt.Fprintf(&text, "-A POSTROUTING -s %s -j MASQUERADE\nCOMMIT\n", sourceNet)
	cmd := nettest.Self.Command(m.command+"-restore", "--noflush")
	cmd.Stdin = strings.NewReader(text.String())
	out, err := cmd.CombinedOutput()
	s.Check(err, "load rules: "+string(out))
}

// rules counts the rules of all kinds in the node's namespace.
func rules(s *measure.Scope) int {
	count := 0
	for line := range strings.Lines(nettest.Run(s, "nft", "-s", "list", "ruleset")) {
		if strings.HasPrefix(line, "\t\t") && !strings.Contains(line, "elements") && !strings.HasPrefix(line, "\t\t\t") &&
			!strings.HasPrefix(line, "\t\ttype ") && !strings.HasPrefix(line, "\t\tflags ") && !strings.HasPrefix(line, "\t\tcomment ") {
			count++
		}
	}
	for _, command := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		count += strings.Count(nettest.Run(s, command), "\n-A ")
	}
	return count
}

// benchApply measures everybody in turns.
func benchApply(out io.Writer, runs int) error {
	if runs == 0 {
		return nil
	}
	fmt.Fprintf(out, "\nsource addresses: time to apply, medians of %d; a change is one prefix\n", runs)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\t10 prefixes\tchange\t1,000\tchange\t10,000\tchange\trules\t1,000 policies, 5,000 pods\tchange\trules")
	plans := []nat.Plan{onePolicy(10), onePolicy(1000), onePolicy(lastEntries), manyPolicies()}
	results := map[string][4][]applied{}
	for range runs {
		for _, m := range masters {
			measure.Progress("apply source addresses: %s", m.name)
			r := results[m.name]
			for i, plan := range plans {
				if m.backend == nil && (i == len(plans)-1 || i == 2 && len(r[i]) > 0) {
					continue // by hand nobody writes pods and policies, and once is long enough
				}
				if err := measure.In(func(s *measure.Scope) { r[i] = append(r[i], m.apply(s, plan)) }); err != nil {
					return fmt.Errorf("%s: %w", m.name, err)
				}
			}
			results[m.name] = r
		}
	}
	for _, m := range masters {
		fmt.Fprint(w, m.name)
		for i, r := range results[m.name] {
			if len(r) == 0 {
				continue
			}
			more := ""
			if r[0].unfinished > 0 {
				more = fmt.Sprintf(" (%d to go)", r[0].unfinished)
			}
			fmt.Fprintf(w, "\t%s%s\t%s", measure.Seconds(measure.Median(measure.Each(r, func(a applied) time.Duration { return a.full }))), more,
				measure.Seconds(measure.Median(measure.Each(r, func(a applied) time.Duration { return a.change }))))
			if i >= 2 {
				fmt.Fprintf(w, "\t%d", r[0].rules)
			}
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// benchForward measures what rules cost a packet.
func benchForward(out io.Writer, runs int) error {
	if runs == 0 {
		return nil
	}
	fmt.Fprintf(out, "\nforwarded by the node, medians of %d: new connections of one packet each, and packets of one connection\n", runs)
	kinds := []struct {
		name string
		load func(*measure.Scope)
	}{
		{"no rules", func(*measure.Scope) {}},
	}
	for _, m := range masters {
		for _, n := range []int{10, lastEntries} {
			kinds = append(kinds, struct {
				name string
				load func(*measure.Scope)
			}{fmt.Sprintf("%s, %d prefixes", m.name, n), func(s *measure.Scope) { m.load(s, n) }})
		}
	}
	results := map[string][]forwarded{}
	for range runs {
		for _, k := range kinds {
			measure.Progress("forward: %s", k.name)
			if err := measure.In(func(s *measure.Scope) { results[k.name] = append(results[k.name], forward(s, k.load)) }); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\tnew connections/s\tof no rules\tpackets/s\tof no rules")
	fresh := func(r []forwarded) float64 {
		return measure.Median(measure.Each(r, func(f forwarded) float64 { return f.fresh }))
	}
	one := func(r []forwarded) float64 {
		return measure.Median(measure.Each(r, func(f forwarded) float64 { return f.one }))
	}
	for _, k := range kinds {
		r, none := results[k.name], results[kinds[0].name]
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%.0f\t%s\n", k.name, fresh(r), percent(fresh(r)/fresh(none)), one(r), percent(one(r)/one(none)))
	}
	return w.Flush()
}

// forward sends through the node, to a destination of the last prefix.
func forward(s *measure.Scope, load func(*measure.Scope)) (f forwarded) {
	nattest.Flush(s)
	defer nattest.Flush(s)
	pod, outside := nettest.New(s, "pod"), nettest.New(s, "outside")
	nettest.Join(s, nettest.Self, "pod", []string{"10.244.0.1/24"}, pod, "eth0", []string{sourceAddr + "/24"})
	nettest.Join(s, nettest.Self, "eth0", []string{"192.0.2.1/24"}, outside, "eth0", []string{"192.0.2.2/24"})
	nettest.Self.IP(s, "route add 11.0.0.0/8 via 192.0.2.2")
	pod.IP(s, "route add default via 10.244.0.1")
	outside.Run(s, "sysctl", "-qw", "net.ipv4.ip_forward=0") // it answers nothing
	load(s)
	last := entries(lastEntries)[lastEntries-1].Addr().Next()
	f.fresh = rate(s, pod, outside, last, newFlows, true)
	nettest.Run(s, "conntrack", "-F")
	f.one = rate(s, pod, outside, last, onePackets, false)
	return f
}

// rate sends n packets of 64 bytes, each of a connection of its own or all of one, and returns how many a second arrived: the
// kernel forwards on the sender's own processor time.
func rate(s *measure.Scope, pod, outside nettest.NS, to netip.Addr, n int, fresh bool) float64 {
	arrived := func() int {
		count, err := strconv.Atoi(strings.TrimSpace(outside.Run(s, "cat", "/sys/class/net/eth0/statistics/rx_packets")))
		s.Check(err, "count packets")
		return count
	}
	before := arrived()
	took, err := nattest.Inside(pod, func() (time.Duration, error) { return send(to, n, fresh) })
	s.Check(err, "send packets")
	got := arrived() - before
	if got < n*99/100 {
		s.Fatalf("%d of %d packets arrived", got, n)
	}
	return float64(n) / took.Seconds()
}

func send(to netip.Addr, n int, fresh bool) (time.Duration, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	const size, header = 64, 20
	packet := make([]byte, size)
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(packet[12:], netip.MustParseAddr(sourceAddr).AsSlice())
	copy(packet[16:], to.AsSlice())
	binary.BigEndian.PutUint16(packet[header+2:], 9)
	binary.BigEndian.PutUint16(packet[header+4:], size-header)
	destination := &unix.SockaddrInet4{Addr: to.As4()}
	begin := time.Now()
	for i := range n {
		port := uint16(1024)
		if fresh {
			port += uint16(i)
		}
		binary.BigEndian.PutUint16(packet[header:], port)
		if err := unix.Sendto(socket, packet, 0, destination); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}
