// Package nftables puts a nat.Plan into force with an nftables table of its own.
//
// Its contract with the neighbours on the host: the table "waymark" of family inet is ours alone, nothing outside it is read
// or written. A base chain hooks into postrouting ten before srcnat, so that what it decides is decided before the
// masquerade rules of others, in nftables and both iptables. A packet with kube-proxy's masquerade mark (0x4000) is left to
// kube-proxy. NAT hooks see the first packet of a connection: what is established keeps the address it has.
//
// Only with egress gateways there are three more: prerouting ten after dstnat, which names the path of a connection in the
// bits of nat.MarkMask of the packet mark and the connection mark, and in no others; forward and input at filter, which only
// drop and lower TCP's segment size.
package nftables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"sigs.k8s.io/knftables"

	"github.com/waymark-bgp/waymark/nat"
)

// Backend writes plans into the table. It is safe for concurrent use; one process at a time may own the table.
type Backend struct {
	mu      sync.Mutex
	left    *contents // the table as the last Apply left it, nil when that is not known
	frame   string    // that it wrote
	written bool      // something was written since the start or Remove: what is not known may be wrong
}

// New makes a backend; it touches nothing.
func New() *Backend { return &Backend{} }

// Name is how status and logs call the backend.
func (b *Backend) Name() string { return "nftables" }

// sample is a plan that takes rules of all kinds.
var (
	sample = nat.Plan{
		Exits:  []nat.Exit{{Mark: 1, Device: "waymark1", First: 1, Last: 1}, {Mark: 2, Device: "waymark2", Address: netip.IPv6Unspecified(), First: 1, Last: 1}},
		Tunnel: nat.Tunnel{Port: 1, MTU: 1280, Prefix: "waymark"},
	}
	compiledSample = nat.Table{Classes: make([]nat.Class, 1), Groups: []nat.Group{{Name: "a4", Marks: []uint16{1, 2}}}}
)

// Check returns an error that says what is missing when this host cannot hold the ruleset: the nft command, a privilege, or
// an ability of the kernel. It is a dry run and changes nothing.
func (b *Backend) Check(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.read(); err != nil {
		return err
	}
	tx := begin()
	replaceTable(tx)
	all := rulesetOf(sample, compiledSample)
	all.add(tx)
	if err := run(ctx, tx, "--check"); err != nil {
		return fmt.Errorf("nftables: the kernel or nft refuses the ruleset: %w", err)
	}
	return nil
}

// Apply makes the table express the plan, in one transaction, and writes nothing when it does already. Of a table that is as
// the last Apply left it only elements change; the rules are written again after a start and when somebody has changed them.
// The base chain stays registered throughout. Apply returns soon after ctx ends, whatever nft does.
func (b *Backend) Apply(ctx context.Context, plan nat.Plan) (nat.Result, error) {
	table, err := nat.Compile(plan)
	if err != nil {
		return nat.Result{}, err
	}
	want := rulesetOf(plan, table)
	text := want.text()

	b.mu.Lock()
	defer b.mu.Unlock()
	changes, err := listen()
	if err != nil {
		return nat.Result{}, err
	}
	defer changes.Close()
	have, err := b.read()
	if err != nil {
		return nat.Result{}, err
	}
	frameStays := b.left != nil && have.frame == b.left.frame && text == b.frame
	result := nat.Result{Repaired: b.left != nil && !have.equal(b.left)}
	if frameStays && maps.EqualFunc(have.elements, want.elements, slices.Equal) {
		b.left = have
		return result, nil
	}

	b.left, b.frame, b.written = nil, text, true // until the outcome is known
	if frameStays, err = write(ctx, have, want, frameStays); err != nil {
		return nat.Result{}, err
	}
	result.Changed = true
	if frameStays {
		b.left = &contents{generation: have.generation + 1, frame: have.frame, elements: want.elements, chains: have.chains, sets: have.sets}
		return result, nil
	}
	now, err := b.read()
	if err != nil {
		return result, err
	}
	// Somebody who changed our table at the same time may have changed what we wrote: then it is not known, Watch calls for
	// another Apply, and that writes it again. Changes of other tables, which never end on some hosts, do not matter.
	alone := now.generation == have.generation+1
	if !alone {
		if alone, err = onlyOne(changes); err != nil {
			return result, err
		}
	}
	if alone {
		b.left = now
	}
	return result, nil
}

// Remove deletes the table.
func (b *Backend) Remove(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left, b.written = nil, false
	tx := begin()
	replaceTable(tx)
	tx.Delete(&knftables.Table{})
	if err := run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: delete table %s: %w", tableName, err)
	}
	return nil
}

// write brings the table from have to want and tells whether the frame stayed.
func write(ctx context.Context, have *contents, want ruleset, frameStays bool) (bool, error) {
	tx := begin()
	chains, sets := without(have.chains, want.chainNames()), without(have.sets, want.setNames())
	if !frameStays {
		flushChains(tx, chains)
		want.add(tx)
	}
	changeElements(tx, want.setNames(), have.elements, want.elements)
	if !frameStays {
		deleteOthers(tx, chains, sets)
	}
	if err := run(ctx, tx); err == nil {
		return frameStays, nil
	}

	// Somebody gave the table a shape that the kernel does not let us mend. To replace it as a whole is the last resort: a packet
	// that meets the old chain after the change and the new chain before it is decided by neither.
	tx = begin()
	replaceTable(tx)
	want.add(tx)
	changeElements(tx, want.setNames(), nil, want.elements)
	if err := run(ctx, tx); err != nil {
		return false, fmt.Errorf("nftables: write table %s: %w", tableName, err)
	}
	return false, nil
}
