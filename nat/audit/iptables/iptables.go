// Package iptables reads NAT rules that iptables has made, of both kinds: those that are in nftables, chain by chain, and the
// legacy ones. It reads the sets of ipset that the rules ask.
package iptables

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/command"
)

const table = "nat"

// Priority of the legacy nat table's POSTROUTING and PREROUTING.
var priorities = map[string]int{"POSTROUTING": 100, "PREROUTING": -100}

// program is the name of iptables of a kind and family.
func program(kind, family string) string {
	if family == "ip6" {
		return "ip6tables-" + kind
	}
	return "iptables-" + kind
}

// ReadNFT reads a built-in chain of the nat table that iptables-nft has made, and all that it leads to, into chains. isChain
// tells which names are chains of the table.
func ReadNFT(ctx context.Context, family, base string, priority int, isChain func(string) bool, chains map[audit.ChainName]*audit.Chain) (*audit.Chain, error) {
	tool := program("nft", family)
	r := reader{ctx: ctx, tool: tool, family: family, isChain: isChain, chains: chains, sets: map[string]*ipset{}}
	r.lines = func(chain string) ([]string, error) {
		out, err := command.Output(ctx, tool, "-w", "-t", table, "-S", chain)
		if err != nil {
			return nil, err
		}
		return slices.Collect(strings.Lines(string(out))), nil
	}
	c, err := r.read(base)
	if c != nil {
		c.Priority = priority
	}
	return c, err
}

// ReadLegacy reads a built-in chain of the legacy nat table, and all that it leads to, into chains; nil: the table is not in
// use. To ask iptables itself would load it.
func ReadLegacy(ctx context.Context, family, base string, chains map[audit.ChainName]*audit.Chain) (*audit.Chain, error) {
	names, err := os.ReadFile("/proc/thread-self/net/" + family + "_tables_names")
	if err != nil || !slices.Contains(strings.Fields(string(names)), table) {
		return nil, nil // no legacy iptables in this kernel, or no nat table
	}
	tool := program("legacy", family)
	out, err := command.Output(ctx, tool+"-save", "-t", table)
	if err != nil {
		return nil, fmt.Errorf("legacy iptables has a nat table that cannot be read: %w", err)
	}
	byChain := map[string][]string{}
	for scanner := bufio.NewScanner(bytes.NewReader(out)); scanner.Scan(); {
		line := scanner.Text()
		switch name, _, _ := strings.Cut(strings.TrimPrefix(line, "-A "), " "); {
		case strings.HasPrefix(line, "-A "):
			byChain[name] = append(byChain[name], line)
		case strings.HasPrefix(line, ":"):
			// ":POSTROUTING ACCEPT [0:0]"
			byChain[name[1:]] = []string{"-P " + strings.TrimPrefix(line, ":")}
		}
	}
	r := reader{ctx: ctx, tool: tool, family: family, chains: chains, sets: map[string]*ipset{}}
	r.isChain = func(name string) bool { return byChain[name] != nil }
	r.lines = func(chain string) ([]string, error) { return byChain[chain], nil }
	c, err := r.read(base)
	if c != nil {
		c.Priority = priorities[base]
	}
	return c, err
}

type reader struct {
	ctx          context.Context
	tool, family string
	isChain      func(string) bool
	lines        func(chain string) ([]string, error)
	chains       map[audit.ChainName]*audit.Chain
	sets         map[string]*ipset
}

func (r *reader) read(name string) (*audit.Chain, error) {
	id := audit.ChainName{Tool: r.tool, Family: r.family, Table: table, Chain: name}
	if known := r.chains[id]; known != nil {
		return known, nil
	}
	lines, err := r.lines(name)
	if err != nil {
		return nil, err
	}
	c := &audit.Chain{Name: id}
	r.chains[id] = c
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if policy, ok := strings.CutPrefix(line, "-P "); ok {
			c.Drops = strings.HasPrefix(policy, name+" DROP")
		}
		if !strings.HasPrefix(line, "-A ") {
			continue
		}
		statements, target := r.rule(words(line)[2:])
		c.Rules = append(c.Rules, audit.Rule{Chain: id, Line: len(c.Rules) + 1, Text: line, Statements: statements})
		if target != "" {
			if _, err := r.read(target); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
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
