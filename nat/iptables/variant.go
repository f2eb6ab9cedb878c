package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Variant is which of the two iptables of a host is meant. They do not see each other's rules.
type Variant string

// The variants, by the names that status and logs call the backend by.
const (
	NFT    Variant = "iptables-nft"
	Legacy Variant = "iptables-legacy"
)

// The chains by which kubelet says which iptables it uses; the older one is there from Kubernetes 1.17 on.
var hints = []string{"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"}

// Detect finds the variant that others on this host use: the one that kubelet has left its hint in, else legacy when its nat
// table has rules, else what the command iptables is. A program must not use the other one: neither then knows who decides first.
func Detect(ctx context.Context) (Variant, error) {
	for _, v := range []Variant{NFT, Legacy} {
		for _, hint := range hints {
			if rules, err := v.list(ctx, ipv4, "mangle", hint); err == nil && rules != nil {
				return v, nil
			}
		}
	}
	if Legacy.loaded(ipv4, "nat") {
		if out, err := run(ctx, "", Legacy.command(ipv4, ""), "-w", wait, "-t", "nat", "-S"); err == nil && strings.Contains(out, "\n-A ") {
			return Legacy, nil
		}
	}
	version, err := run(ctx, "", "iptables", "-V")
	if err != nil {
		return "", fmt.Errorf("iptables: find out which iptables this host uses: %w", err)
	}
	if strings.Contains(version, "nf_tables") {
		return NFT, nil
	}
	return Legacy, nil
}

// family is an IP version.
type family int

const (
	ipv4 family = 4
	ipv6 family = 6
)

var families = []family{ipv4, ipv6}

// wait is how many seconds somebody else may hold the lock of iptables-legacy.
const wait = "3"

// command names the command of a family, with a suffix: "", "-restore".
func (v Variant) command(f family, suffix string) string {
	name := string(v)
	if f == ipv6 {
		name = strings.Replace(name, "ip", "ip6", 1)
	}
	return name + suffix
}

// loaded tells whether the kernel has the table in this network namespace. To ask iptables-legacy for another one would load it.
func (v Variant) loaded(f family, table string) bool {
	if v == NFT {
		return true
	}
	file := "/proc/thread-self/net/ip_tables_names"
	if f == ipv6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)
	return err == nil && slices.Contains(strings.Fields(string(names)), table)
}

// list gives the rules of a chain, as "-A CHAIN ...". A chain that is not there is nil, one without rules is empty.
func (v Variant) list(ctx context.Context, f family, table, chain string) ([]string, error) {
	if !v.loaded(f, table) {
		return nil, nil
	}
	out, err := run(ctx, "", v.command(f, ""), "-w", wait, "-t", table, "-S", chain)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil, nil // in the words of the one "No chain/target/match by that name", of the other "incompatible"
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return !strings.HasPrefix(line, "-A ") }), nil
}
