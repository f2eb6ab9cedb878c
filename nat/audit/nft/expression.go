package nft

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"

	"github.com/waymark-bgp/waymark/nat/audit"
)

var protocols = map[string]uint8{
	"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58,
	"sctp": 132, "udplite": 136,
}

// statements translates the expressions of a rule.
func (t *Table) statements(expr []map[string]json.RawMessage) []audit.Statement {
	var list []audit.Statement
	for _, e := range expr {
		for kind, raw := range e {
			var body any
			_ = json.Unmarshal(raw, &body) // the decoder has checked it
			list = append(list, t.statement(kind, body)...)
		}
	}
	return list
}

func (t *Table) statement(kind string, body any) []audit.Statement {
	if verdict, ok := verdictOf(kind, body); ok {
		return []audit.Statement{verdict}
	}
	fields, _ := body.(map[string]any)
	switch kind {
	case "match":
		return []audit.Statement{t.match(fields)}
	case "vmap":
		return []audit.Statement{t.vmap(fields)}
	case "mangle":
		return t.mangle(fields)
	case "snat", "dnat":
		return []audit.Statement{t.translate(fields)}
	case "masquerade":
		return []audit.Statement{audit.Translate{Masquerade: true}}
	case "counter", "log", "comment", "meter", "set", "last":
		return nil // they do nothing to the packet
	case "limit", "quota", "ct count":
		return []audit.Statement{audit.Uncertain{}}
	}
	return []audit.Statement{audit.Opaque{}}
}

func verdictOf(kind string, body any) (audit.Verdict, bool) {
	fields, _ := body.(map[string]any)
	target, _ := fields["target"].(string)
	switch kind {
	case "accept":
		return audit.Verdict{Do: audit.Accept}, true
	case "drop", "reject":
		return audit.Verdict{Do: audit.Drop}, true
	case "return":
		return audit.Verdict{Do: audit.Return}, true
	case "continue":
		return audit.Verdict{Do: audit.Continue}, true
	case "jump":
		return audit.Verdict{Do: audit.Jump, Chain: target}, true
	case "goto":
		return audit.Verdict{Do: audit.Goto, Chain: target}, true
	}
	return audit.Verdict{}, false
}

func (t *Table) match(m map[string]any) audit.Statement {
	keys := keysOf(m["left"])
	op, _ := m["op"].(string)
	right := m["right"]
	var in audit.Set
	ok := true
	switch op {
	case "==", "!=", "in":
		in, ok = t.set(right, op == "in")
	case "<", ">", "<=", ">=":
		n, isNumber := right.(float64)
		if ok = isNumber && len(keys) == 1; ok {
			in = audit.Set{{beyond(op, uint64(n))}}
		}
	default:
		ok = false
	}
	if !ok {
		return unless(keys)
	}
	return audit.Match{Keys: keys, Not: op == "!=", In: in}
}

// unless is a match of which is known only to which packets it applies.
func unless(keys []audit.Key) audit.Statement {
	for i := range keys {
		keys[i].Field = audit.Other
	}
	return audit.Match{Keys: keys, In: audit.Set{make([]audit.Range, len(keys))}}
}

func beyond(op string, n uint64) audit.Range {
	const most = ^uint64(0)
	switch op {
	case "<":
		if n == 0 {
			return audit.Range{Low: 1} // none
		}
		return audit.Range{High: n - 1}
	case "<=":
		return audit.Range{High: n}
	case ">":
		return audit.Range{Low: n + 1, High: most}
	}
	return audit.Range{Low: n, High: most}
}

// set is the right side of a comparison. Flags are alternatives if they are compared by "in".
func (t *Table) set(right any, flags bool) (audit.Set, bool) {
	var elements []any
	switch v := right.(type) {
	case []any:
		if !flags {
			return nil, false
		}
		elements = v
	default:
		var ok bool
		if elements, ok = t.elements(right); !ok {
			if s, isString := right.(string); isString && len(s) > 0 && s[0] == '@' {
				return nil, false
			}
			elements = []any{right}
		}
	}
	var in audit.Set
	for _, e := range elements {
		ranges, ok := rangesOf(e)
		if !ok {
			return nil, false
		}
		in = append(in, ranges)
	}
	return in, true
}

func (t *Table) vmap(v map[string]any) audit.Statement {
	keys := keysOf(v["key"])
	elements, ok := t.elements(v["data"])
	lookup := audit.Lookup{Keys: keys}
	for _, e := range elements {
		pair, isPair := e.([]any)
		if !isPair || len(pair) != 2 {
			return audit.Opaque{}
		}
		ranges, understood := rangesOf(pair[0])
		entry := audit.Entry{Key: ranges}
		verdict, _ := pair[1].(map[string]any)
		for kind, body := range verdict {
			var isVerdict bool
			entry.Verdict, isVerdict = verdictOf(kind, body)
			understood = understood && isVerdict
		}
		if !understood || len(verdict) != 1 {
			return audit.Opaque{}
		}
		lookup.Entries = append(lookup.Entries, entry)
	}
	if !ok {
		return audit.Opaque{}
	}
	slices.SortStableFunc(lookup.Entries, func(a, b audit.Entry) int { return wild(a.Key) - wild(b.Key) })
	return lookup
}

// wild puts catch-all elements last.
func wild(key []audit.Range) int {
	if slices.ContainsFunc(key, func(r audit.Range) bool { return r.All }) {
		return 1
	}
	return 0
}

// mangle is a change of the packet or of its connection.
func (t *Table) mangle(m map[string]any) []audit.Statement {
	key := keysOf(m["key"])[0]
	about, _ := m["key"].(map[string]any)
	_, ofConnection := about["ct"]
	_, ofMeta := about["meta"]
	switch {
	case key.Field == audit.Mark, key.Field == audit.ConnectionMark:
		mark := markOf(m["value"])
		mark.Connection = key.Field == audit.ConnectionMark
		return []audit.Statement{mark}
	case ofConnection || ofMeta:
		return nil // a priority, a label: not what NAT rules look at
	}
	return []audit.Statement{audit.Opaque{}}
}

// markOf understands a number, a mark, and operations of one of them with numbers.
func markOf(value any) audit.SetMark {
	unknown := audit.SetMark{Unknown: true}
	e, _ := value.(map[string]any)
	if n, ok := value.(float64); ok {
		return audit.SetMark{Xor: uint32(n)}
	}
	for op, operands := range e {
		switch key := keysOf(value)[0]; {
		case op == "meta" && key.Field == audit.Mark:
			return audit.SetMark{And: ^uint32(0)}
		case op == "ct" && key.Field == audit.ConnectionMark:
			return audit.SetMark{And: ^uint32(0), FromConnection: true}
		}
		pair, _ := operands.([]any)
		if len(pair) != 2 {
			return unknown
		}
		number, isNumber := pair[1].(float64)
		m, n := markOf(pair[0]), uint32(number)
		switch {
		case m.Unknown || !isNumber:
			return unknown
		case op == "&":
			m.And, m.Xor = m.And&n, m.Xor&n
		case op == "|":
			m.And, m.Xor = m.And&^n, m.Xor|n
		case op == "^":
			m.Xor ^= n
		default:
			return unknown
		}
		return m
	}
	return unknown
}

func (t *Table) translate(nat map[string]any) audit.Statement {
	var s audit.Translate
	switch nat["family"] {
	case "ip":
		s.Version = 4
	case "ip6":
		s.Version = 6
	}
	if t.family == "ip6" {
		s.Version = 6
	}
	addr, isMap := nat["addr"].(map[string]any)
	lookup, isLookup := addr["map"].(map[string]any)
	payload, isPayload := addr["payload"].(map[string]any)
	switch {
	case isMap && isLookup:
		elements, ok := t.elements(lookup["data"])
		if !ok {
			return audit.Opaque{}
		}
		s.Keys = keysOf(lookup["key"])
		for _, e := range elements {
			pair, isPair := e.([]any)
			if !isPair || len(pair) != 2 {
				return audit.Opaque{}
			}
			key, good := rangesOf(pair[0])
			target, understood := targetOf(pair[1], nat["type_flags"] == "prefix" || nat["flags"] == "netmap")
			if !good || !understood {
				return audit.Opaque{}
			}
			target.Key = key
			s.Targets = append(s.Targets, target)
		}
		slices.SortStableFunc(s.Targets, func(a, b audit.Target) int { return wild(a.Key) - wild(b.Key) })
	case isMap && isPayload && payload["field"] == "saddr":
		s.Targets = []audit.Target{{}}
	case nat["addr"] == nil:
		return audit.Opaque{} // the port alone
	default:
		target, ok := targetOf(nat["addr"], nat["type_flags"] == "prefix" || nat["flags"] == "netmap")
		if !ok {
			return audit.Opaque{}
		}
		if port, isNumber := nat["port"].(float64); isNumber {
			target.Port = uint16(port)
		}
		s.Targets = []audit.Target{target}
	}
	return s
}

// targetOf understands an address, a range, a prefix, and an address with a port.
func targetOf(value any, keepsHost bool) (audit.Target, bool) {
	ranges, ok := rangesOf(value)
	if !ok || len(ranges) == 0 || !ranges[0].First.IsValid() || len(ranges) > 2 {
		return audit.Target{}, false
	}
	t := audit.Target{First: ranges[0].First, Last: ranges[0].Last}
	if len(ranges) == 2 {
		t.Port = uint16(ranges[1].Low)
	}
	if keepsHost {
		v, _ := value.(map[string]any)
		prefix, isPrefix := v["prefix"].(map[string]any)
		if !isPrefix {
			return t, t.First == t.Last // of one address
		}
		length, _ := prefix["len"].(float64)
		return audit.Target{Network: netip.PrefixFrom(t.First, int(length))}, true
	}
	return t, true
}

// keysOf translates what a comparison looks at.
func keysOf(left any) []audit.Key {
	e, _ := left.(map[string]any)
	for kind, body := range e {
		if parts, ok := body.([]any); ok && kind == "concat" {
			var keys []audit.Key
			for _, part := range parts {
				keys = append(keys, keysOf(part)...)
			}
			return keys
		}
		if parts, ok := body.([]any); ok && kind == "&" && len(parts) == 2 {
			key := keysOf(parts[0])[0]
			mask, isNumber := parts[1].(float64)
			if !isNumber || key.Mask != 0 || mask == 0 {
				key.Field = audit.Other
			}
			key.Mask = uint64(mask)
			return []audit.Key{key}
		}
		fields, _ := body.(map[string]any)
		return []audit.Key{keyOf(kind, fields)}
	}
	return []audit.Key{{}}
}

func keyOf(kind string, body map[string]any) audit.Key {
	word := func(name string) string { s, _ := body[name].(string); return s }
	switch kind {
	case "payload":
		key := audit.Key{Protocol: protocols[word("protocol")]}
		switch word("protocol") {
		case "ip":
			key.Version = 4
		case "ip6":
			key.Version = 6
		}
		switch word("field") {
		case "saddr":
			key.Field = audit.SourceAddress
		case "daddr":
			key.Field = audit.DestinationAddress
		case "protocol", "nexthdr":
			if key.Version != 0 {
				key.Field = audit.Protocol
			}
		case "dport":
			key.Field = audit.DestinationPort
		}
		return key
	case "meta":
		return audit.Key{Field: map[string]audit.Field{
			"mark": audit.Mark, "iif": audit.InInterface, "iifname": audit.InInterface, "oif": audit.OutInterface,
			"oifname": audit.OutInterface, "l4proto": audit.Protocol, "nfproto": audit.Version, "protocol": audit.Version,
		}[word("key")]}
	case "ct":
		if word("dir") == "" {
			return audit.Key{Field: map[string]audit.Field{
				"mark": audit.ConnectionMark, "state": audit.State, "status": audit.Status, "direction": audit.Direction,
			}[word("key")]}
		}
	case "jhash", "numgen":
		modulus, _ := body["mod"].(float64)
		if offset, _ := body["offset"].(float64); offset == 0 {
			return audit.Key{Modulus: int(modulus)}
		}
	case "fib":
		if flags, _ := body["flags"].([]any); word("result") == "type" && len(flags) == 1 {
			switch flags[0] {
			case "saddr":
				return audit.Key{Field: audit.SourceType}
			case "daddr":
				return audit.Key{Field: audit.DestinationType}
			}
		}
	}
	return audit.Key{}
}

// rangesOf translates an element: a range for each part of a concatenation.
func rangesOf(value any) ([]audit.Range, bool) {
	if v, ok := value.(map[string]any); ok {
		if parts, ok := v["concat"].([]any); ok {
			var ranges []audit.Range
			for _, part := range parts {
				one, ok := rangesOf(part)
				if !ok || len(one) != 1 {
					return nil, false
				}
				ranges = append(ranges, one[0])
			}
			return ranges, true
		}
		if e, ok := v["elem"].(map[string]any); ok {
			return rangesOf(e["val"])
		}
	}
	r, ok := rangeOf(value)
	return []audit.Range{r}, ok
}

func rangeOf(value any) (audit.Range, bool) {
	switch v := value.(type) {
	case float64:
		return audit.Range{Low: uint64(v), High: uint64(v)}, true
	case string:
		if v == "*" {
			return audit.Range{All: true}, true
		}
		if a, err := netip.ParseAddr(v); err == nil {
			return audit.Range{First: a, Last: a}, true
		}
		if n, err := strconv.ParseUint(v, 0, 64); err == nil {
			return audit.Range{Low: n, High: n}, true
		}
		if n, ok := protocols[v]; ok {
			return audit.Range{Low: uint64(n), High: uint64(n)}, true
		}
		return audit.Range{Word: v}, v != "" && v[0] != '@'
	case map[string]any:
		if p, ok := v["prefix"].(map[string]any); ok {
			length, _ := p["len"].(float64)
			text, _ := p["addr"].(string)
			prefix, err := netip.ParsePrefix(text + "/" + strconv.Itoa(int(length)))
			if err != nil {
				return audit.Range{}, false
			}
			return audit.Prefix(prefix), true
		}
		if ends, ok := v["range"].([]any); ok && len(ends) == 2 {
			first, good := rangeOf(ends[0])
			last, too := rangeOf(ends[1])
			return audit.Range{First: first.First, Last: last.Last, Low: first.Low, High: last.High}, good && too && first.Word+last.Word == ""
		}
	}
	return audit.Range{}, false
}
