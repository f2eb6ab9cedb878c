// Package nft reads NAT rules from nftables by the nft command, chain by chain: of a large ruleset only what a packet may
// come to.
package nft

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/command"
)

// Tool is the name of the tool in chain names.
const Tool = "nft"

// Chain is a base chain that nftables has, of whatever tool.
type Chain struct {
	Family   string `json:"family"`
	Table    string `json:"table"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Hook     string `json:"hook"`
	Priority int    `json:"prio"`
	Policy   string `json:"policy"`
}

// Chains lists the base chains.
func Chains(ctx context.Context) ([]Chain, error) {
	var chains []Chain
	err := list(ctx, func(o object) {
		if o.Chain != nil && o.Chain.Hook != "" {
			chains = append(chains, *o.Chain)
		}
	}, "chains")
	return chains, err
}

type object struct {
	Chain *Chain `json:"chain"`
	Rule  *rule  `json:"rule"`
	Set   *set   `json:"set"`
	Map   *set   `json:"map"`
}

type rule struct {
	Handle uint64                       `json:"handle"`
	Expr   []map[string]json.RawMessage `json:"expr"`
}

type set struct {
	Elem []any `json:"elem"`
}

// list runs nft list and gives each object of the answer.
func list(ctx context.Context, each func(object), words ...string) error {
	return command.Stream(ctx, func(out io.Reader) error {
		decoder := json.NewDecoder(out)
		for range 3 { // {"nftables":[
			if _, err := decoder.Token(); err != nil {
				return fmt.Errorf("not what nft -j writes: %w", err)
			}
		}
		for decoder.More() {
			var o object
			if err := decoder.Decode(&o); err != nil {
				return fmt.Errorf("not what nft -j writes: %w", err)
			}
			each(o)
		}
		_, err := io.Copy(io.Discard, out)
		return err
	}, "nft", append([]string{"-j", "-a", "list"}, words...)...)
}

// Table reads chains of a table when they are asked for, each once.
type Table struct {
	ctx          context.Context
	family, name string
	chains       map[string]*audit.Chain
	sets         map[string][]any
}

// NewTable makes a table that reads while ctx lasts.
func NewTable(ctx context.Context, family, name string) *Table {
	return &Table{ctx: ctx, family: family, name: name, chains: map[string]*audit.Chain{}, sets: map[string][]any{}}
}

// Base is a base chain as List has given it.
func (t *Table) Base(c Chain) *audit.Chain {
	base := t.Chain(c.Name)
	base.Priority, base.Drops = c.Priority, c.Policy == "drop"
	return base
}

// Chain reads a chain. One that cannot be read is unread.
func (t *Table) Chain(name string) *audit.Chain {
	if known := t.chains[name]; known != nil {
		return known
	}
	id := audit.ChainName{Tool: Tool, Family: t.family, Table: t.name, Chain: name}
	c := &audit.Chain{Name: id}
	t.chains[name] = c
	where := []string{"chain", id.Family, id.Table, id.Chain}
	texts, err := t.texts(where)
	if err != nil {
		c.Unread = err.Error()
		return c
	}
	var rules []rule
	if err := list(t.ctx, func(o object) {
		if o.Rule != nil {
			rules = append(rules, *o.Rule)
		}
	}, where...); err != nil {
		c.Unread = err.Error()
		return c
	}
	for i, from := range rules {
		c.Rules = append(c.Rules, audit.Rule{
			Chain: id, Handle: from.Handle, Line: i + 1, Text: texts[fmt.Sprint(from.Handle)],
			Statements: t.statements(from.Expr),
		})
	}
	return c
}

// texts are the rules of a chain as people read them, by handle.
func (t *Table) texts(where []string) (map[string]string, error) {
	out, err := command.Output(t.ctx, "nft", append([]string{"-a", "list"}, where...)...)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	var begun []string // nft breaks long lists into lines
	_, body, _ := strings.Cut(string(out), "\tchain ")
	for line := range strings.Lines(body) {
		text, handle, found := strings.Cut(strings.TrimSpace(line), " # handle ")
		switch {
		case strings.HasPrefix(text, "type ") || strings.HasPrefix(text, "comment ") || strings.HasSuffix(text, " {") && found:
			continue // the head of the table or of the chain
		case !found:
			begun = append(begun, text)
			continue
		}
		texts[strings.TrimSpace(handle)] = strings.Join(append(begun, text), " ")
		begun = nil
	}
	return texts, nil
}

// elements of a set or map, given by its name or by itself.
func (t *Table) elements(from any) ([]any, bool) {
	switch v := from.(type) {
	case string:
		name, named := strings.CutPrefix(v, "@")
		if !named {
			return nil, false
		}
		if known, ok := t.sets[name]; ok {
			return known, known != nil
		}
		elements := []any{}
		read := func(kind string) error {
			return list(t.ctx, func(o object) {
				if o.Set != nil {
					elements = append(elements, o.Set.Elem...)
				}
				if o.Map != nil {
					elements = append(elements, o.Map.Elem...)
				}
			}, kind, t.family, t.name, name)
		}
		if read("map") != nil && read("set") != nil {
			elements = nil
		}
		t.sets[name] = elements
		return elements, elements != nil
	case map[string]any:
		if elements, ok := v["set"].([]any); ok {
			return elements, true
		}
	case []any:
		return v, true
	}
	return nil, false
}
