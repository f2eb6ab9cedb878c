package bgp

import (
	"net/netip"
	"strings"
	"testing"
)

func rule(prefix string, low, high int, action Action) FilterRule {
	return FilterRule{Prefix: netip.MustParsePrefix(prefix), MinLength: low, MaxLength: high, Action: action}
}

func TestDecide(t *testing.T) {
	rules := []FilterRule{
		rule("10.1.0.0/16", 24, 28, Reject),
		rule("10.0.0.0/8", 8, 24, Accept),
		rule("0.0.0.0/0", 0, 0, Accept),
		rule("2001:db8::/32", 32, 64, Accept),
	}
	for _, tt := range []struct {
		prefix string
		want   bool
	}{
		{"10.1.2.0/24", false},     // the first rule that matches decides
		{"10.1.0.0/16", true},      // too short for the first
		{"10.1.2.128/29", false},   // too long for both
		{"10.0.0.0/8", true},       // the prefix itself
		{"10.0.0.0/7", false},      // shorter than the rule's prefix
		{"0.0.0.0/0", true},        // the default route, and only it
		{"11.0.0.0/8", false},      // outside
		{"2001:db8:1::/48", true},  // the other family
		{"2001:db8:1::/65", false}, // too long
		{"::/0", false},            // not the IPv4 default
	} {
		p := netip.MustParsePrefix(tt.prefix)
		if got := Decide(rules, p, Reject); got != tt.want {
			t.Errorf("Decide(%s, Reject) = %v, want %v", p, got, tt.want)
		}
		if !Decide(nil, p, Accept) || Decide(nil, p, Reject) {
			t.Errorf("%s: no rules, but not the default", p)
		}
	}
}

func TestSequence(t *testing.T) {
	first := []FilterRule{
		rule("10.1.0.0/16", 16, 32, Reject),
		rule("10.0.0.0/8", 8, 32, Accept),
	}
	second := []FilterRule{
		rule("10.2.0.0/16", 16, 32, Reject),
		rule("0.0.0.0/0", 0, 24, Accept),
	}
	both := Sequence(first, second)
	for prefix, want := range map[string]bool{
		"10.1.1.0/24": false, // the first refuses
		"10.2.1.0/24": false, // the second refuses
		"10.3.1.0/24": true,
		"10.3.1.0/25": false, // too long for the second
		"11.0.0.0/24": true,  // nothing in the first is about it
	} {
		if got := Decide(both, netip.MustParsePrefix(prefix), Reject); got != want {
			t.Errorf("%s: %v, want %v", prefix, got, want)
		}
	}
}

func TestFilterRuleValidate(t *testing.T) {
	for _, tt := range []struct {
		rule FilterRule
		want string
	}{
		{rule("10.0.0.0/8", 8, 32, Accept), ""},
		{rule("10.0.0.0/8", 7, 32, Accept), "minimum length 7, want 8..32"},
		{rule("10.0.0.0/8", 16, 12, Accept), "maximum length 12, want 16..32"},
		{rule("10.0.0.0/8", 8, 33, Accept), "maximum length 33, want 8..32"},
		{rule("10.0.0.1/8", 8, 32, Accept), "has host bits set, want 10.0.0.0/8"},
		{rule("::ffff:10.0.0.0/104", 104, 128, Accept), "write IPv4 prefixes as IPv4"},
		{rule("10.0.0.0/8", 8, 32, "accept"), `action "accept", want Accept or Reject`},
		{FilterRule{Action: Accept}, "missing"},
	} {
		err := tt.rule.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v: %v, want %q", tt.rule, err, tt.want)
		}
	}
}

// FuzzFilter reads rules and a prefix out of the input and holds the list logic against its definition.
func FuzzFilter(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 8, 32, 1, 10, 1, 0, 0, 16, 16, 24, 0, 10, 1, 2, 0, 24, 0, 0, 0})
	f.Add([]byte{10, 1, 2, 128, 25, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var rules []FilterRule
		for ; len(data) >= 8; data = data[8:] {
			rules = append(rules, fuzzRule(data))
		}
		if len(rules) == 0 {
			return
		}
		prefix := rules[len(rules)-1].Prefix
		rules = rules[:len(rules)-1]
		first, second := rules[:len(rules)/2], rules[len(rules)/2:]
		want := Decide(first, prefix, Accept) && Decide(second, prefix, Reject)
		both := Sequence(first, second)
		if got := Decide(both, prefix, Reject); got != want {
			t.Errorf("%s: %v then %v: %v, want %v", prefix, first, second, got, want)
		}
		for _, r := range both {
			if err := r.Validate(); err != nil {
				t.Errorf("%v then %v: %v", first, second, err)
			}
			if r.Matches(prefix) && !r.Prefix.Overlaps(prefix) {
				t.Errorf("%v matches %s", r, prefix)
			}
		}
	})
}

func fuzzRule(b []byte) FilterRule {
	addr := netip.AddrFrom4([4]byte(b))
	if b[7]&2 != 0 {
		addr = netip.AddrFrom16([16]byte{0x20, 1, b[0], b[1], b[2], b[3]})
	}
	longest := addr.BitLen()
	p := netip.PrefixFrom(addr, int(b[4])%(longest+1)).Masked()
	low := p.Bits() + int(b[5])%(longest-p.Bits()+1)
	r := FilterRule{Prefix: p, MinLength: low, MaxLength: low + int(b[6])%(longest-low+1), Action: Accept}
	if b[7]&1 != 0 {
		r.Action = Reject
	}
	return r
}
