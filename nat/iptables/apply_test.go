package iptables_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/iptables"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

var variants = []iptables.Variant{iptables.NFT, iptables.Legacy}

var created = regexp.MustCompile(`(?m)^create.*\n`)

func keep(destinations ...string) nat.Plan {
	return nattest.Plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: nattest.Prefixes(destinations...)})
}

// held is what iptables and ipset hold in table nat.
func held(t testing.TB, v iptables.Variant) string {
	t.Helper()
	ip6 := strings.Replace(string(v), "ip", "ip6", 1)
	all := nettest.Run(t, string(v), "-t", "nat", "-S") + nettest.Run(t, ip6, "-t", "nat", "-S") + nettest.Run(t, "ipset", "save", "-sorted")
	return created.ReplaceAllString(all, "") // with a random number
}

func TestTheSamePlanWritesNothing(t *testing.T) {
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			t.Cleanup(func() { nattest.Flush(t) })
			b := iptables.New(v)
			if result := nattest.Apply(t, b, keep("10.132.0.0/16")); !result.Changed || result.Repaired {
				t.Errorf("first apply: %+v, want changed, not repaired", result)
			}
			if result := nattest.Apply(t, b, keep("10.132.0.0/16")); result != (nat.Result{}) {
				t.Errorf("same plan: %+v, want nothing done", result)
			}
			if result := nattest.Apply(t, b, keep("10.132.0.0/16", "10.134.0.0/16")); !result.Changed || result.Repaired {
				t.Errorf("another plan: %+v, want changed, not repaired", result)
			}
		})
	}
}

func TestRulesDoNotGrowWithThePlan(t *testing.T) {
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			t.Cleanup(func() { nattest.Flush(t) })
			b := iptables.New(v)
			rules := func() int { return strings.Count(held(t, v), "-A WAYMARK") }
			nattest.Apply(t, b, keep("10.0.0.0/8"))
			small := rules()
			var many []string
			for i := range 10_000 {
				many = append(many, fmt.Sprintf("20.%d.%d.0/24", i>>7, i<<1&255))
			}
			start := time.Now()
			nattest.Apply(t, b, keep(many...))
			t.Logf("10,000 prefixes in %v", time.Since(start))
			if large := rules(); large != small || small == 0 {
				t.Errorf("%d rules, with 10,000 prefixes %d", small, large)
			}
			start = time.Now()
			nattest.Apply(t, b, keep(append(many, "10.0.0.0/8")...))
			t.Logf("one more in %v", time.Since(start))
			start = time.Now()
			nattest.Apply(t, b, keep(append(many, "10.0.0.0/8")...))
			t.Logf("the same in %v", time.Since(start))
		})
	}
}

// TestForeignEditsAreNoticedAndRepaired does to rules and sets what operators and scripts do to them.
func TestForeignEditsAreNoticedAndRepaired(t *testing.T) {
	for _, v := range variants {
		for _, edit := range []string{
			"IPT -t nat -F",
			"IPT -t nat -F; IPT -t nat -X",
			"IPT -t nat -D POSTROUTING -j WAYMARK-POSTROUTING",
			"IPT -t nat -F WAYMARK-POSTROUTING",
			"IPT -t nat -I POSTROUTING -j RETURN",
			"IPT -t nat -A POSTROUTING -j WAYMARK-POSTROUTING",
			"IPT -t nat -R POSTROUTING 1 -s 192.0.2.9 -j WAYMARK-POSTROUTING",
			"IPT -t nat -D WAYMARK-POSTROUTING 3",
			"IPT -t nat -I WAYMARK-POSTROUTING -j RETURN",
			"IPT -t nat -R WAYMARK-POSTROUTING 3 -j RETURN",
			"ipset flush",
			"ipset add SET 192.0.2.0/24",
			"ipset del SET 10.132.0.0/16",
			"IPT -t nat -F; IPT -t nat -X; sleep 0.1; ipset destroy SET",
		} {
			t.Run(string(v)+"/"+edit, func(t *testing.T) {
				t.Cleanup(func() { nattest.Flush(t) })
				p := keep("10.132.0.0/16", "2001:db8:132::/48")
				b := iptables.New(v)
				nattest.Apply(t, b, p)
				want := held(t, v)
				set := ""
				for line := range strings.Lines(want) {
					if words := strings.Fields(line); len(words) == 3 && words[2] == "10.132.0.0/16" {
						set = words[1]
					}
				}
				noticed := make(chan struct{}, 100)
				ctx, cancel := context.WithCancel(context.Background())
				var watching sync.WaitGroup
				watching.Go(func() {
					if err := b.Watch(ctx, func() { noticed <- struct{}{} }); err != nil {
						t.Errorf("watch: %v", err)
					}
				})
				defer watching.Wait()
				defer cancel()
				start := time.Now()
				nettest.Run(t, "sh", "-c", strings.NewReplacer("IPT", string(v), "SET", set).Replace(edit))
				others := strings.Contains(edit, "-I POSTROUTING -j RETURN")
				select {
				case <-noticed:
				case <-time.After(5 * time.Second):
					t.Fatal("not noticed in 5 s")
				}
				if result := nattest.Apply(t, b, p); !result.Repaired || !result.Changed {
					t.Errorf("%+v, want it repaired", result)
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("repaired after %v, want at most 1 s", took)
				}
				if others { // their rule stays, behind ours
					nettest.Run(t, string(v), "-t", "nat", "-D", "POSTROUTING", "-j", "RETURN")
				}
				if got := held(t, v); got != want {
					t.Errorf("repaired to\n%swant\n%s", got, want)
				}
				if result := nattest.Apply(t, b, p); result != (nat.Result{}) {
					t.Errorf("apply again: %+v, want nothing done", result)
				}
			})
		}
	}
}

// TestBackendsTakeOver has an agent start with another backend than the one before it, under traffic.
func TestBackendsTakeOver(t *testing.T) {
	l := nattest.NewLab(t)
	p := keep(nattest.Outside4+"/32", nattest.Outside6+"/128")
	backends := []nattest.Backend{nftables.New(), iptables.New(iptables.Legacy)}
	nattest.Apply(t, backends[0], p)
	nettest.Run(t, "iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	done := make(chan struct{})
	var asking sync.WaitGroup
	flows := 0
	asking.Go(func() {
		for ; ; flows++ {
			select {
			case <-done:
				return
			default:
			}
			if got, err := nattest.Seen(l.Pod, "udp", "", nattest.Outside4); err != nil || got != nattest.Pod4 {
				t.Errorf("flow %d: source %q; %v", flows, got, err)
				return
			}
		}
	})
	for i := range 10 {
		next, last := backends[(i+1)%2], backends[i%2]
		nattest.Apply(t, next, p)
		if err := last.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	asking.Wait()
	t.Logf("%d flows", flows)
}

// TestAHungIptablesHoldsNobodyUp has commands that never end.
func TestAHungIptablesHoldsNobodyUp(t *testing.T) {
	for _, command := range []string{"iptables-nft", "iptables-nft-restore", "ipset"} {
		t.Run(command, func(t *testing.T) {
			t.Cleanup(func() { nattest.Flush(t) })
			path, good := t.TempDir(), os.Getenv("PATH")
			if err := os.WriteFile(filepath.Join(path, command), []byte("#!/bin/sh\nsleep 30; true\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", path+":"+good)
			b := iptables.New(iptables.NFT)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := b.Apply(ctx, keep("10.132.0.0/16"))
			if took := time.Since(start); took > time.Second {
				t.Errorf("apply returned after %v, want soon after 300 ms", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), command+" did not answer in time") {
				t.Errorf("error %v, want that %s did not answer in time", err, command)
			}
			t.Setenv("PATH", good)
			if result := nattest.Apply(t, b, keep("10.132.0.0/16")); !result.Changed {
				t.Errorf("apply with a good one: %+v, want changed", result)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		rule string
		want iptables.Variant
	}{
		{"true", iptables.NFT}, // this system's iptables
		{"iptables-legacy -t mangle -N KUBE-IPTABLES-HINT", iptables.Legacy},
		{"iptables-nft -t mangle -N KUBE-KUBELET-CANARY", iptables.NFT},
		{"iptables-legacy -t nat -A POSTROUTING -j RETURN", iptables.Legacy},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Cleanup(func() { nattest.Flush(t) })
			nettest.Run(t, "sh", "-c", c.rule)
			if got, err := iptables.Detect(t.Context()); err != nil || got != c.want {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, v := range variants {
		if err := iptables.New(v).Check(t.Context()); err != nil {
			t.Errorf("%s: %v, want this kernel to be good enough", v, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if err := iptables.New(iptables.NFT).Check(t.Context()); err == nil || !strings.Contains(err.Error(), `"ipset": executable file not found`) {
		t.Errorf("without ipset: %v", err)
	}
}
