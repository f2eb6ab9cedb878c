package bgp

import (
	"fmt"
	"net/netip"
)

// Action is what a filter rule does with a prefix that it matches.
type Action string

// The actions of a FilterRule.
const (
	Accept Action = "Accept"
	Reject Action = "Reject"
)

// FilterRule matches prefixes inside Prefix whose length is at least MinLength and at most MaxLength.
type FilterRule struct {
	Prefix    netip.Prefix
	MinLength int // at least the length of Prefix
	MaxLength int
	Action    Action
}

// Matches reports whether the rule is about the prefix.
func (r FilterRule) Matches(p netip.Prefix) bool {
	return p.Addr().BitLen() == r.Prefix.Addr().BitLen() && p.Bits() >= r.Prefix.Bits() &&
		p.Bits() >= r.MinLength && p.Bits() <= r.MaxLength && r.Prefix.Contains(p.Addr())
}

// Validate says what is wrong with the rule.
func (r FilterRule) Validate() error {
	if err := validPrefix(r.Prefix); err != nil {
		return err
	}
	longest := r.Prefix.Addr().BitLen()
	switch {
	case r.MinLength < r.Prefix.Bits() || r.MinLength > longest:
		return fmt.Errorf("filter %s: minimum length %d, want %d..%d", r.Prefix, r.MinLength, r.Prefix.Bits(), longest)
	case r.MaxLength < r.MinLength || r.MaxLength > longest:
		return fmt.Errorf("filter %s: maximum length %d, want %d..%d", r.Prefix, r.MaxLength, r.MinLength, longest)
	case r.Action != Accept && r.Action != Reject:
		return fmt.Errorf("filter %s: action %q, want %s or %s", r.Prefix, r.Action, Accept, Reject)
	}
	return nil
}

// Decide reports whether the rules accept the prefix: the first rule that matches decides, and otherwise where none does.
func Decide(rules []FilterRule, p netip.Prefix, otherwise Action) bool {
	for _, r := range rules {
		if r.Matches(p) {
			return r.Action == Accept
		}
	}
	return otherwise == Accept
}

// Sequence returns one list of rules that accepts what both lists accept, where no rule of first matching means accepted and
// no rule of second matching means rejected; it is to be read with Reject for what no rule matches.
func Sequence(first, second []FilterRule) []FilterRule {
	var rules []FilterRule
	for _, r := range first {
		if r.Action == Accept {
			for _, s := range second {
				if both, ok := intersect(r, s); ok {
					rules = append(rules, both)
				}
			}
		}
		r.Action = Reject
		rules = append(rules, r)
	}
	return append(rules, second...)
}

// intersect returns the rule that matches what a and b match, with the action of b.
func intersect(a, b FilterRule) (FilterRule, bool) {
	if !a.Prefix.Overlaps(b.Prefix) {
		return FilterRule{}, false
	}
	both := FilterRule{
		Prefix:    a.Prefix,
		MinLength: max(a.MinLength, b.MinLength),
		MaxLength: min(a.MaxLength, b.MaxLength),
		Action:    b.Action,
	}
	if b.Prefix.Bits() > a.Prefix.Bits() {
		both.Prefix = b.Prefix
	}
	both.MinLength = max(both.MinLength, both.Prefix.Bits())
	return both, both.MinLength <= both.MaxLength
}

func validPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("prefix is missing or malformed")
	case p.Addr().Is4In6():
		return fmt.Errorf("prefix %s: write IPv4 prefixes as IPv4", p)
	case p != p.Masked():
		return fmt.Errorf("prefix %s has host bits set, want %s", p, p.Masked())
	}
	return nil
}
