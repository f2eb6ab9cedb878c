package iptables

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/waymark-bgp/waymark/nat/audit"
)

var protocols = map[string]uint64{
	"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "sctp": 132, "udplite": 136,
}

// rule translates the words of a rule.
func (t *Table) rule(words []string) []audit.Statement {
	p := parser{Table: t, words: words}
	for len(p.words) > 0 && !p.lost {
		p.option()
	}
	if p.lost {
		// Some option is not understood: it may be of a match or of the target. What was understood still excludes.
		return append(p.matches, audit.Uncertain{}, audit.Opaque{})
	}
	return append(p.matches, p.target...)
}

// parser goes through the words of a rule.
type parser struct {
	*Table
	words   []string
	modules []string
	matches []audit.Statement
	target  []audit.Statement
	lost    bool
}

func (p *parser) next() string {
	if len(p.words) == 0 {
		p.lost = true
		return ""
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

func (p *parser) match(not bool, field audit.Field, set audit.Set) {
	p.matches = append(p.matches, audit.Match{Keys: []audit.Key{{Field: field}}, Not: not, In: set})
}

func (p *parser) uncertain() { p.matches = append(p.matches, audit.Uncertain{}) }

func (p *parser) option() {
	option, not := p.next(), false
	if option == "!" {
		option, not = p.next(), true
	}
	switch option {
	case "-s", "-d", "--src-range", "--dst-range":
		field := audit.SourceAddress
		if option == "-d" || option == "--dst-range" {
			field = audit.DestinationAddress
		}
		if in, ok := addresses(p.next()); ok {
			p.match(not, field, audit.Set{{in}})
		} else {
			p.uncertain()
		}
	case "-p":
		p.protocol(not, p.next())
	case "-i":
		p.match(not, audit.InInterface, audit.Set{{device(p.next())}})
	case "-o":
		p.match(not, audit.OutInterface, audit.Set{{device(p.next())}})
	case "-m":
		p.module(p.next())
	case "--comment":
		p.next()
	case "--mark":
		if text := p.next(); len(p.modules) > 0 && understood(p.modules[len(p.modules)-1]) {
			p.mark(not, text)
		}
	case "--dport", "--dports":
		p.ports(not, p.next())
	case "--sport", "--sports", "--ports":
		p.next()
		p.uncertain()
	case "--src-type", "--dst-type":
		field := audit.SourceType
		if option == "--dst-type" {
			field = audit.DestinationType
		}
		p.match(not, field, wordsOf(strings.ToLower(p.next())))
	case "--ctstate", "--state":
		p.state(not, p.next())
	case "--ctdir":
		p.match(not, audit.Direction, wordsOf(strings.ToLower(p.next())))
	case "--tcp-flags":
		p.flags(not, p.next(), p.next())
	case "--match-set":
		p.set(not, p.next(), p.next())
	case "-j", "-g":
		p.jump(option == "-g", p.next())
	default:
		// The options of a module that is not understood are of no interest: it is uncertain anyway.
		p.lost = len(p.modules) == 0 || understood(p.modules[len(p.modules)-1])
	}
}

func understood(module string) bool {
	return slices.Contains([]string{"comment", "mark", "connmark", "tcp", "udp", "sctp", "multiport", "addrtype", "conntrack", "state", "set", "iprange"}, module)
}

// module notes a match module. What its options say is uncertain, unless it is one that is understood.
func (p *parser) module(name string) {
	if !understood(name) {
		p.uncertain()
	}
	p.modules = append(p.modules, name)
}

func addresses(text string) (audit.Range, bool) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		a, err1 := netip.ParseAddr(first)
		b, err2 := netip.ParseAddr(last)
		return audit.Range{First: a, Last: b}, err1 == nil && err2 == nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return audit.Range{First: a, Last: a}, true
	}
	prefix, err := netip.ParsePrefix(text) // a mask with holes is written as an address
	if err != nil {
		return audit.Range{}, false
	}
	return audit.Prefix(prefix), true
}

func device(name string) audit.Range {
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		if prefix == "" {
			return audit.Range{All: true}
		}
		return audit.Range{Word: prefix + "*"}
	}
	return audit.Range{Word: name}
}

func (p *parser) protocol(not bool, name string) {
	n, known := protocols[name]
	if !known {
		var err error
		if n, err = strconv.ParseUint(name, 10, 8); err != nil {
			p.uncertain()
			return
		}
	}
	p.match(not, audit.Protocol, audit.Set{{{Low: n, High: n}}})
}

// mark is 0x4000/0x4000, of the packet or of the connection.
func (p *parser) mark(not bool, text string) {
	value, mask, masked := strings.Cut(text, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	m := uint64(1<<32 - 1)
	if masked && err == nil {
		m, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil || m == 0 {
		p.uncertain()
		return
	}
	key := audit.Key{Field: audit.Mark, Mask: m}
	if p.modules[len(p.modules)-1] == "connmark" {
		key.Field = audit.ConnectionMark
	}
	p.matches = append(p.matches, audit.Match{Keys: []audit.Key{key}, Not: not, In: audit.Set{{{Low: v, High: v}}}})
}

// ports is a list of ports and of ranges.
func (p *parser) ports(not bool, text string) {
	var in audit.Set
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		}
		low, err1 := strconv.ParseUint(first, 10, 16)
		high, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil {
			p.uncertain()
			return
		}
		in = append(in, []audit.Range{{Low: low, High: high}})
	}
	p.match(not, audit.DestinationPort, in)
}

func wordsOf(list string) audit.Set {
	var in audit.Set
	for word := range strings.SplitSeq(list, ",") {
		in = append(in, []audit.Range{{Word: word}})
	}
	return in
}

// state is of the connection, where iptables counts that it was translated as states too.
func (p *parser) state(not bool, list string) {
	var states, statuses []string
	for word := range strings.SplitSeq(strings.ToLower(list), ",") {
		if word == "dnat" || word == "snat" {
			statuses = append(statuses, word)
		} else {
			states = append(states, word)
		}
	}
	switch {
	case len(statuses) == 0:
		p.match(not, audit.State, wordsOf(strings.Join(states, ",")))
	case len(states) == 0:
		p.match(not, audit.Status, wordsOf(strings.Join(statuses, ",")))
	case slices.Contains(states, "new"):
		if not {
			p.match(true, audit.State, wordsOf("new")) // it is new: no packet gets on
		}
	default:
		p.match(not, audit.Status, wordsOf(strings.Join(statuses, ",")))
	}
}

// targets are those of iptables and its extensions. Any other name is of a chain.
var targets = strings.Fields("ACCEPT DROP RETURN QUEUE AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK " +
	"IDLETIMER LED LOG MARK MASQUERADE NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SECMARK SET SNAT SNPT SYNPROXY TCPMSS " +
	"TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG")

// flags of TCP: the first packet of a connection has SYN alone.
func (p *parser) flags(not bool, mask, set string) {
	want := "NONE"
	if slices.Contains(strings.Split(mask, ","), "SYN") {
		want = "SYN"
	}
	p.match(not != (set != want), audit.State, wordsOf("new"))
}

// jump is the target with all that follows.
func (p *parser) jump(isGoto bool, name string) {
	verdict := func(v audit.Verdict) { p.target = []audit.Statement{v} }
	switch {
	case isGoto || !slices.Contains(targets, name):
		do := audit.Jump
		if isGoto {
			do = audit.Goto
		}
		verdict(audit.Verdict{Do: do, Chain: name})
		return
	case name == "ACCEPT":
		verdict(audit.Verdict{Do: audit.Accept})
	case name == "DROP":
		verdict(audit.Verdict{Do: audit.Drop})
	case name == "RETURN":
		verdict(audit.Verdict{Do: audit.Return})
	case name == "MASQUERADE":
		p.target = []audit.Statement{audit.Translate{Masquerade: true}}
	case name == "SNAT", name == "DNAT", name == "NETMAP":
		p.target = []audit.Statement{p.translation(name)}
	case name == "MARK":
		p.target = []audit.Statement{p.setMark()}
	case name == "CONNMARK":
		p.target = []audit.Statement{audit.SetMark{Connection: !slices.Contains(p.words, "--restore-mark"), Unknown: true}}
	case slices.Contains([]string{"TCPMSS", "TOS", "DSCP", "CLASSIFY", "CHECKSUM", "LOG", "NFLOG", "TRACE", "SET"}, name):
	default:
		p.target = []audit.Statement{audit.Opaque{}}
	}
	p.words = nil
}

func (p *parser) translation(name string) audit.Statement {
	option := map[string]string{"SNAT": "--to-source", "DNAT": "--to-destination", "NETMAP": "--to"}[name]
	i := slices.Index(p.words, option)
	if i < 0 || i+1 >= len(p.words) {
		return audit.Opaque{}
	}
	text := p.words[i+1]
	if name == "NETMAP" {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			a, notAddress := netip.ParseAddr(text)
			if notAddress != nil {
				return audit.Opaque{}
			}
			prefix = netip.PrefixFrom(a, a.BitLen())
		}
		return audit.Translate{Targets: []audit.Target{{Network: prefix}}}
	}
	target, ok := targetOf(text)
	if !ok {
		return audit.Opaque{}
	}
	if name == "SNAT" {
		target.Port = 0
	}
	return audit.Translate{Targets: []audit.Target{target}}
}

// targetOf understands 192.0.2.1, 192.0.2.1-192.0.2.9:1024-2048, [2001:db8::1]:80 and 2001:db8::1.
func targetOf(text string) (audit.Target, bool) {
	var t audit.Target
	if !strings.HasPrefix(text, "[") && strings.Count(text, ":") > 1 {
		text = "[" + text + "]"
	}
	ports := ""
	if rest, ok := strings.CutPrefix(text, "["); ok {
		text, ports, ok = strings.Cut(rest, "]")
		if !ok {
			return t, false
		}
		ports = strings.TrimPrefix(ports, ":")
	} else {
		text, ports, _ = strings.Cut(text, ":")
	}
	r, ok := addresses(text)
	port, _ := strconv.ParseUint(ports, 10, 16) // a range of ports names none
	t = audit.Target{First: r.First, Last: r.Last, Port: uint16(port)}
	return t, ok
}

// setMark is --set-xmark value/mask: the bits of mask are cleared, then those of value are turned over.
func (p *parser) setMark() audit.Statement {
	if len(p.words) < 2 || p.words[0] != "--set-xmark" {
		return audit.SetMark{Unknown: true}
	}
	value, mask, _ := strings.Cut(p.words[1], "/")
	v, err1 := strconv.ParseUint(value, 0, 32)
	m, err2 := strconv.ParseUint(mask, 0, 32)
	if err1 != nil || err2 != nil {
		return audit.SetMark{Unknown: true}
	}
	return audit.SetMark{And: ^uint32(m), Xor: uint32(v)}
}
