// Package iptables reads rules that iptables has made, of both kinds: those that are in nftables, chain by chain, and the
// legacy ones. It reads the sets of ipset that the rules ask.
package iptables

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/command"
)

// Priority of the legacy nat table's POSTROUTING and PREROUTING.
var priorities = map[string]int{"POSTROUTING": 100, "PREROUTING": -100}

// program is the name of iptables of a kind and family.
func program(kind, family string) string {
	if family == "ip6" {
		return "ip6tables-" + kind
	}
	return "iptables-" + kind
}

// Table reads chains of a table when they are asked for, each once.
type Table struct {
	ctx          context.Context
	tool         string
	family, name string
	lines        func(chain string) ([]string, error)
	chains       map[string]*audit.Chain
	sets         map[string]*ipset
}

// NFT is the table that iptables-nft has made. It reads while ctx lasts.
func NFT(ctx context.Context, family, name string) *Table {
	tool := program("nft", family)
	lines := func(chain string) ([]string, error) {
		out, err := command.Output(ctx, tool, "-w", "-t", name, "-S", chain)
		return slices.Collect(strings.Lines(string(out))), err
	}
	return &Table{ctx, tool, family, name, lines, map[string]*audit.Chain{}, map[string]*ipset{}}
}

// Legacy is the table of legacy iptables; nil: it is not in use. To ask iptables itself would load it.
func Legacy(ctx context.Context, family, name string) (*Table, error) {
	names, err := os.ReadFile("/proc/thread-self/net/" + family + "_tables_names")
	if err != nil || !slices.Contains(strings.Fields(string(names)), name) {
		return nil, nil // no legacy iptables in this kernel, or not this table
	}
	tool := program("legacy", family)
	out, err := command.Output(ctx, tool+"-save", "-t", name)
	if err != nil {
		return nil, fmt.Errorf("legacy iptables has a table %s that cannot be read: %w", name, err)
	}
	byChain := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		if rule, ok := strings.CutPrefix(line, "-A "); ok {
			chain, _, _ := strings.Cut(rule, " ")
			byChain[chain] = append(byChain[chain], line)
		} else if head, ok := strings.CutPrefix(line, ":"); ok { // ":POSTROUTING ACCEPT [0:0]"
			chain, _, _ := strings.Cut(head, " ")
			byChain[chain] = []string{"-P " + head}
		}
	}
	lines := func(chain string) ([]string, error) {
		if byChain[chain] == nil {
			return nil, fmt.Errorf("there is neither a chain nor a known target %s", chain)
		}
		return byChain[chain], nil
	}
	return &Table{ctx, tool, family, name, lines, map[string]*audit.Chain{}, map[string]*ipset{}}, nil
}

// Tool is the name of the tool in chain names.
func (t *Table) Tool() string { return t.tool }

// Base is a built-in chain. Priority is that of legacy iptables, unless the caller knows better.
func (t *Table) Base(name string) *audit.Chain {
	c := t.Chain(name)
	c.Priority = priorities[name]
	return c
}

// Chain reads a chain. One that cannot be read is unread.
func (t *Table) Chain(name string) *audit.Chain {
	if known := t.chains[name]; known != nil {
		return known
	}
	c := &audit.Chain{Name: audit.ChainName{Tool: t.tool, Family: t.family, Table: t.name, Chain: name}}
	t.chains[name] = c
	lines, err := t.lines(name)
	if err != nil {
		c.Unread = err.Error()
	}
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if policy, ok := strings.CutPrefix(line, "-P "); ok {
			c.Drops = strings.HasPrefix(policy, name+" DROP")
		}
		if strings.HasPrefix(line, "-A ") {
			c.Rules = append(c.Rules, audit.Rule{Chain: c.Name, Line: len(c.Rules) + 1, Text: line, Statements: t.rule(words(line)[2:])})
		}
	}
	return c
}

// words splits a line as iptables quotes it.
func words(line string) []string {
	var list []string
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				list = append(list, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		list = append(list, word.String())
	}
	return list
}
