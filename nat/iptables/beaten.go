package iptables

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/nat"
)

// The probe is a datagram to the discard port (RFC 863) with the address of a pod, the checksum of no datagram, and one hop to live:
// the next hop drops it. A rule without a target, the first of ours in POSTROUTING, counts those that reach us.
const (
	probePort    = 9
	probePayload = 31 // bytes, by which the rule knows it, besides the port
	probes       = 2  // of each sender in each family, where there are that many destinations
)

// thisNetwork is nowhere (RFC 6890).
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

var headers = map[family]int{ipv4: 20 + 8, ipv6: 40 + 8}

func probeRule(f family) string {
	return fmt.Sprintf("-p udp -m udp --dport %d -m length --length %d", probePort, headers[f]+probePayload)
}

// probe is a packet whose source address we should decide.
type probe struct {
	from, to netip.Addr
}

// Beaten tells in sentences for which pods and destinations, of a sample of those in the last plan, another NAT on this host
// decides before the backend: then pods do not keep their addresses, whatever the plan says. None: the backend decides.
// It asks the kernel with real packets, which end at the next hop. An error says that it is not known.
func (b *Backend) Beaten(ctx context.Context) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == nil {
		return nil, fmt.Errorf("iptables: it is not known who decides about source addresses: the rules are not in force")
	}
	var beaten []string
	for _, f := range present() {
		for _, probe := range b.left.want.probes[f] {
			before, err := b.reached(ctx, f)
			if err != nil {
				return nil, err
			}
			if err := probe.send(); err != nil {
				continue // there is no way to this destination, or it is no destination
			}
			after, err := b.reached(ctx, f)
			if err != nil {
				return nil, err
			}
			if after == before {
				beaten = append(beaten, fmt.Sprintf("what %s sends to %s is decided before %s, by %s", probe.from, probe.to, b.variant, b.rivals(ctx, f)))
			}
		}
	}
	return beaten, nil
}

// reached is how many probes have reached our chain.
func (b *Backend) reached(ctx context.Context, f family) (int, error) {
	own := natPostrouting.own()
	out, err := run(ctx, "", b.variant.command(f, ""), "-w", wait, "-t", natPostrouting.table, "-v", "-S", own)
	if err != nil {
		return 0, fmt.Errorf("iptables: read the counters of chain %s: %w", own, err)
	}
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if at := slices.Index(words, "-c"); at > 0 && at+1 < len(words) && slices.Contains(words, "length") {
			return strconv.Atoi(words[at+1])
		}
	}
	return 0, fmt.Errorf("iptables: chain %s has no rule that counts probes", own)
}

// rivals names who may have decided before us: base chains of nftables, the other variant of iptables among them if it is
// iptables-nft. Which of them it was is not known.
func (b *Backend) rivals(ctx context.Context, f family) string {
	var names []string
	if b.variant == NFT && Legacy.loaded(f, "nat") {
		names = append(names, string(Legacy))
	}
	var list struct {
		Nftables []struct {
			Chain *struct {
				Family, Table, Name, Type, Hook string
				Prio                            int
			} `json:"chain"`
		} `json:"nftables"`
	}
	out, err := run(ctx, "", "nft", "--json", "list", "chains")
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	for _, object := range list.Nftables {
		c := object.Chain
		ours := b.variant == NFT && c != nil && c.Table == "nat" && c.Name == "POSTROUTING"
		if c == nil || ours || c.Type != "nat" || c.Hook != "postrouting" || c.Prio > 100 || c.Family == "ip" && f == ipv6 || c.Family == "ip6" && f == ipv4 {
			continue
		}
		names = append(names, fmt.Sprintf("table %s %s (chain %s, priority %d)", c.Family, c.Table, c.Name, c.Prio))
	}
	if err != nil {
		names = append(names, "nftables, whose tables cannot be listed: "+err.Error())
	}
	if len(names) == 0 {
		return "somebody unknown"
	}
	return strings.Join(names, " or ")
}

// addProbes takes samples of what somebody sends with an address that it is to keep.
func (r *ruleset) addProbes(f family, from netip.Addr, destinations []nat.Range) {
	most := len(r.probes[f]) + probes
	for _, destination := range destinations {
		for _, prefix := range prefixes(destination) {
			to := prefix.Addr()
			if !prefix.IsSingleIP() {
				to = to.Next() // the first is the network's own
			}
			if to.IsGlobalUnicast() && !thisNetwork.Contains(to) && len(r.probes[f]) < most {
				r.probes[f] = append(r.probes[f], probe{from, to})
			}
		}
	}
}

// send sends the probe by the host's routes.
func (p probe) send() error {
	datagram := make([]byte, 8+probePayload)
	binary.BigEndian.PutUint16(datagram, uint16(32768+rand.IntN(28000))) // a connection of its own each time: NAT decides once for each
	binary.BigEndian.PutUint16(datagram[2:], probePort)
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	binary.BigEndian.PutUint16(datagram[6:], 0xdead)
	domain, header := unix.AF_INET6, make([]byte, 40)
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: p.to.As16()}
	if p.to.Is4() {
		domain, header = unix.AF_INET, make([]byte, 20)
		header[0], header[8], header[9] = 0x45, 1, unix.IPPROTO_UDP // the kernel adds length and checksum
		binary.BigEndian.PutUint16(header[2:], uint16(len(header)+len(datagram)))
		copy(header[12:], p.from.AsSlice())
		copy(header[16:], p.to.AsSlice())
		to = &unix.SockaddrInet4{Addr: p.to.As4()}
	} else {
		header[0], header[6], header[7] = 0x60, unix.IPPROTO_UDP, 1
		binary.BigEndian.PutUint16(header[4:], uint16(len(datagram)))
		copy(header[8:], p.from.AsSlice())
		copy(header[24:], p.to.AsSlice())
	}
	socket, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return unix.Sendto(socket, append(header, datagram...), 0, to)
}
