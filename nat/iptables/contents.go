package iptables

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// state is what the kernel holds at a hook.
type state struct {
	rules []string // of our chain, without "-A CHAIN"; nil: there is none
	jumps []string // the rules of everybody's chain that lead to ours, as "-A ..."
	place bool     // one of the jumps, without conditions, is where it should be
}

func (s state) equal(other state) bool {
	return slices.Equal(s.rules, other.rules) && slices.Equal(s.jumps, other.jumps) && s.place == other.place && (s.rules == nil) == (other.rules == nil)
}

// good tells whether the jump is there, once and in its place, if and only if our chain has as many rules as wanted.
func (s state) good(rules int) bool {
	if rules == 0 {
		return s.rules == nil && len(s.jumps) == 0
	}
	return len(s.rules) == rules && s.placed()
}

func (s state) placed() bool { return len(s.jumps) == 1 && s.place }

// become gives the lines of iptables-restore that write the rules, all of them, and put the jump in its place.
func (s state) become(h hook, rules []string) []string {
	if len(rules) == 0 && s.good(0) {
		return nil
	}
	lines := []string{fmt.Sprintf(":%s - [0:0]", h.own())} // empties the chain if it is there
	for _, rule := range rules {
		lines = append(lines, fmt.Sprintf("-A %s %s", h.own(), rule))
	}
	if len(rules) > 0 && s.placed() {
		return lines
	}
	for _, jump := range s.jumps {
		lines = append(lines, "-D"+strings.TrimPrefix(jump, "-A"))
	}
	if len(rules) == 0 {
		return append(lines, "-X "+h.own())
	}
	if h.last {
		return append(lines, fmt.Sprintf("-A %s %s", h.chain, h.jump()))
	}
	return append(lines, fmt.Sprintf("-I %s 1 %s", h.chain, h.jump()))
}

// contents is what the kernel holds of ours in a family.
type contents map[hook]state

// read reads the hooks of a family.
func (v Variant) read(ctx context.Context, f family, hooks []hook) (contents, error) {
	c := contents{}
	for _, h := range hooks {
		var s state
		all, err := v.list(ctx, f, h.table, h.chain)
		if err != nil {
			return nil, fmt.Errorf("iptables: read chain %s of table %s: %w", h.chain, h.table, err)
		}
		for i, rule := range all {
			if leadsTo(rule, h.own()) {
				s.jumps = append(s.jumps, rule)
				at := i == 0
				if h.last {
					at = i == len(all)-1
				}
				s.place = s.place || at && rule == "-A "+h.chain+" "+h.jump()
			}
		}
		own, err := v.list(ctx, f, h.table, h.own())
		if err != nil {
			return nil, fmt.Errorf("iptables: read chain %s of table %s: %w", h.own(), h.table, err)
		}
		if own != nil {
			s.rules = []string{}
		}
		for _, rule := range own {
			s.rules = append(s.rules, strings.TrimPrefix(rule, "-A "+h.own()+" "))
		}
		c[h] = s
	}
	return c, nil
}

func leadsTo(rule, chain string) bool {
	words := strings.Fields(rule)
	return slices.Contains(words, chain) && (slices.Contains(words, "-j") || slices.Contains(words, "-g"))
}
