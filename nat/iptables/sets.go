package iptables

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/nat"
)

const (
	setPrefix = "waymark"
	newSet    = setPrefix + "-new" // while it is filled, or changes places with a set that somebody has changed
	// maxElements bounds a set; the default of ipset, 65,536, is less than a plan may have.
	maxElements = 1 << 22
	// letGo is how long the kernel may take to let go of the sets of deleted rules.
	letGo = 500 * time.Millisecond
)

// errNoSets says that this host has no ipset, in the kernel or as a command.
var errNoSets = errors.New("sets cannot be listed")

// sets are contents by name, sorted as text. The name of a set tells its content, so that rules switch from one content to
// the next as a whole when they are written, and a content that stays is not touched.
type sets map[string][]string

// add adds the set of some ranges of one family and returns its name.
func (s sets) add(f family, ranges []nat.Range) string {
	var members []string
	for _, r := range ranges {
		for _, p := range prefixes(r) {
			members = append(members, member(p))
		}
	}
	slices.Sort(members)
	sum := sha256.Sum256([]byte(strings.Join(members, " ")))
	name := fmt.Sprintf("%s%d-%s", setPrefix, f, hex.EncodeToString(sum[:8]))
	s[name] = members
	return name
}

// member is a prefix as ipset prints it.
func member(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// prefixes covers a range. None has zero bits: hash:net does not know that.
func prefixes(r nat.Range) []netip.Prefix {
	var list []netip.Prefix
	for first := r.First; ; {
		p := widest(first, r.Last)
		list = append(list, p)
		last := lastOf(p)
		if last == r.Last {
			return list
		}
		first = last.Next()
	}
}

// widest is the widest prefix that begins with first and does not go beyond last.
func widest(first, last netip.Addr) netip.Prefix {
	for bits := 1; ; bits++ {
		p := netip.PrefixFrom(first, bits)
		if p.Masked() == p && !last.Less(lastOf(p)) {
			return p
		}
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// readSets reads our sets. Without members it only counts them, which costs the same for small and large sets: the content is
// then the number.
func readSets(ctx context.Context, members bool) (sets, error) {
	have := sets{}
	out, err := run(ctx, "", "ipset", "list", "-terse")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSets, err)
	}
	name := ""
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case key == "Name":
			name = value
		case key == "Number of entries" && strings.HasPrefix(name, setPrefix):
			have[name] = []string{value}
		}
	}
	if !members {
		return have, nil
	}
	for name := range have {
		out, err := run(ctx, "", "ipset", "save", name)
		if err != nil {
			return nil, err
		}
		var list []string
		for line := range strings.Lines(out) {
			if words := strings.Fields(line); words[0] == "add" {
				list = append(list, strings.Join(words[2:], " "))
			}
		}
		slices.Sort(list)
		have[name] = list
	}
	return have, nil
}

// counts is what readSets without members reads of the sets.
func (s sets) counts() sets {
	counted := sets{}
	for name, members := range s {
		counted[name] = []string{strconv.Itoa(len(members))}
	}
	return counted
}

func (s sets) equal(other sets) bool { return maps.EqualFunc(s, other, slices.Equal) }

// fill makes the sets that are wanted and not there, each as a whole: under its name it is complete. One that somebody has
// changed changes places with a good one.
func fill(ctx context.Context, have, want sets) error {
	var script strings.Builder
	if _, left := have[newSet]; left {
		fmt.Fprintf(&script, "destroy %s\n", newSet)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		was, there := have[name]
		if there && slices.Equal(was, want[name]) {
			continue
		}
		inet := "inet"
		if strings.HasPrefix(name, setPrefix+"6") {
			inet = "inet6"
		}
		fmt.Fprintf(&script, "create %s hash:net family %s maxelem %d\n", newSet, inet, maxElements)
		for _, member := range want[name] {
			fmt.Fprintf(&script, "add %s %s\n", newSet, member)
		}
		if there {
			fmt.Fprintf(&script, "swap %s %s\ndestroy %s\n", newSet, name, newSet)
		} else {
			fmt.Fprintf(&script, "rename %s %s\n", newSet, name)
		}
	}
	if script.Len() == 0 {
		return nil
	}
	if _, err := run(ctx, script.String(), "ipset", "restore"); err != nil {
		return fmt.Errorf("iptables: write sets: %w", err)
	}
	return nil
}

// destroy deletes our sets but those to keep. One that rules of another variant still refer to stays.
func destroy(ctx context.Context, keep sets) error {
	for deadline := time.Now().Add(letGo); ; {
		have, err := readSets(ctx, false)
		if err != nil {
			return fmt.Errorf("iptables: read sets: %w", err)
		}
		left := 0
		for name := range have {
			if _, kept := keep[name]; kept {
				continue
			}
			if _, err := run(ctx, "", "ipset", "destroy", name); err != nil {
				left++
			}
		}
		if left == 0 || time.Now().After(deadline) {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("iptables: delete sets: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
