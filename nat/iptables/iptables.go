// Package iptables puts a nat.Plan into force with iptables-nft or iptables-legacy, and ipset.
//
// Its contract with the neighbours on the host: chains whose names begin with WAYMARK- and sets whose names begin with waymark
// are ours alone. Each chain is jumped to by one rule, which is the first of POSTROUTING and so on, and the last of PREROUTING in
// table nat; of others' chains and sets nothing else is written. A packet with kube-proxy's masquerade mark (0x4000) is left to kube-proxy. NAT tables see
// the first packet of a connection: what is established keeps the address it has.
//
// What another NAT does earlier in POSTROUTING decides before us: a base chain of nftables with a priority below srcnat, or with
// the same priority if it was registered later, and so the other variant of iptables if it was registered later. Nothing
// within iptables changes that; Beaten finds it out.
package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/waymark-bgp/waymark/nat"
)

// Backend writes plans into chains and sets. It is safe for concurrent use; one process at a time may own them.
type Backend struct {
	variant Variant

	mu      sync.Mutex
	left    *kept // what the last Apply has left, nil when that is not known
	written bool  // something was written since the start or Remove: what is not known may be wrong
}

// kept is a ruleset and how the kernel describes it.
type kept struct {
	want     ruleset
	contents map[family]contents
	sets     sets
}

// New makes a backend; it touches nothing.
func New(v Variant) *Backend { return &Backend{variant: v} }

// Name is how status and logs call the backend.
func (b *Backend) Name() string { return string(b.variant) }

// Check returns an error that says what is missing when this host cannot hold the rules: a command, a privilege, or an ability
// of the kernel. It changes nothing but loads tables of iptables-legacy.
func (b *Backend) Check(ctx context.Context) error {
	if _, err := readSets(ctx, false); err != nil {
		return fmt.Errorf("iptables: ipset: %w", err)
	}
	for _, f := range present() {
		rules := "*nat\n:WAYMARK-CHECK - [0:0]\n-A WAYMARK-CHECK " + identity[f] + "\n-A WAYMARK-CHECK " + masquerade + "\nCOMMIT\n"
		if _, err := run(ctx, rules, b.variant.command(f, "-restore"), "-w", wait, "--noflush", "--test"); err != nil {
			return fmt.Errorf("iptables: the kernel or iptables refuses the rules: %w", err)
		}
	}
	return nil
}

// Apply makes chains and sets express the plan, and writes nothing when they do already. New sets are complete before a rule
// names them, and the rules of a family switch in one transaction for each table. Apply returns soon after ctx ends.
func (b *Backend) Apply(ctx context.Context, plan nat.Plan) (nat.Result, error) {
	table, err := nat.Compile(plan)
	if err != nil {
		return nat.Result{}, err
	}
	want := rulesetOf(plan, table)

	b.mu.Lock()
	defer b.mu.Unlock()
	have, err := b.read(ctx, want, true)
	if err != nil {
		return nat.Result{}, err
	}
	untouched := b.left != nil && have.equal(b.left)
	result := nat.Result{Repaired: b.left != nil && !untouched}
	if untouched && b.left.want.equal(want) {
		return result, nil
	}
	b.left, b.written = nil, true // until the outcome is known
	if err := b.write(ctx, have, want); err != nil {
		return nat.Result{}, err
	}
	result.Changed = true
	now, err := b.read(ctx, want, true)
	if err != nil {
		return result, err
	}
	// Else somebody changed it at the same time: then Watch calls for another Apply, and that writes it again.
	if now.holds(want) {
		b.left = now
	}
	return result, nil
}

// Remove deletes our chains and sets.
func (b *Backend) Remove(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left, b.written = nil, false
	nothing := ruleset{}
	have, err := b.read(ctx, nothing, false)
	if errors.Is(err, errNoSets) && ctx.Err() == nil {
		return nil // then there cannot have been an Apply either
	}
	if err != nil {
		return err
	}
	if have.holds(nothing) {
		return nil
	}
	return b.write(ctx, have, nothing)
}

// write brings the kernel from have to want.
func (b *Backend) write(ctx context.Context, have *kept, want ruleset) error {
	if err := fill(ctx, have.sets, want.sets); err != nil {
		return err
	}
	var errs []error
	for _, f := range present() {
		script := script(have.contents[f], want.chains[f])
		if script == "" {
			continue
		}
		if _, err := run(ctx, script, b.variant.command(f, "-restore"), "-w", wait, "--noflush"); err != nil {
			errs = append(errs, fmt.Errorf("iptables: write rules: %w", err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return destroy(ctx, want.sets)
}

// read reads what the kernel holds of ours: at all hooks, or at those that are in use when that is known.
func (b *Backend) read(ctx context.Context, want ruleset, members bool) (*kept, error) {
	k := &kept{want: want, contents: map[family]contents{}}
	for _, f := range present() {
		used := hooks
		if b.left != nil {
			used = slices.DeleteFunc(slices.Clone(hooks), func(h hook) bool {
				return len(want.chains[f][h]) == 0 && b.left.contents[f][h].rules == nil
			})
		}
		c, err := b.variant.read(ctx, f, used)
		if err != nil {
			return nil, err
		}
		k.contents[f] = c
	}
	var err error
	if k.sets, err = readSets(ctx, members); err != nil {
		return nil, fmt.Errorf("iptables: read sets: %w", err)
	}
	return k, nil
}

// equal compares what the kernel holds. A hook that was not read is one where nothing was.
func (k *kept) equal(other *kept) bool {
	for _, f := range families {
		for _, h := range hooks {
			if !k.contents[f][h].equal(other.contents[f][h]) {
				return false
			}
		}
	}
	return k.sets.equal(other.sets)
}

// holds tells whether the kernel holds what is wanted. The words of rules are not compared: versions of iptables differ in them.
func (k *kept) holds(want ruleset) bool {
	for f, c := range k.contents {
		for _, h := range hooks {
			if !c[h].good(len(want.chains[f][h])) {
				return false
			}
		}
	}
	return k.sets.equal(want.sets)
}

// present are the families that this host has: IPv6 may be switched off at its start.
func present() []family {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return []family{ipv4}
	}
	return families
}
