package host_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/host"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

const services = 5000

// kubeProxy is the nat table that kube-proxy in iptables mode writes for 5,000 Services of two endpoints each.
func kubeProxy() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]")
	line(":KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]")
	for i := range services {
		line(":KUBE-SVC-%016X - [0:0]\n:KUBE-SEP-A%015X - [0:0]\n:KUBE-SEP-B%015X - [0:0]", i, i, i)
	}
	line(`-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`)
	line(`-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING`)
	line(`-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE`)
	line("-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000")
	line("-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000")
	line(`-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully`)
	for i := range services {
		ip := fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)
		comment := fmt.Sprintf(`-m comment --comment "ns/svc%d cluster IP"`, i)
		line("-A KUBE-SERVICES -d %s/32 -p tcp %s -m tcp --dport 80 -j KUBE-SVC-%016X", ip, comment, i)
		line("-A KUBE-SVC-%016X ! -s 10.244.0.0/16 -d %s/32 -p tcp %s -m tcp --dport 80 -j KUBE-MARK-MASQ", i, ip, comment)
		line("-A KUBE-SVC-%016X %s -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A%015X", i, comment, i)
		line("-A KUBE-SVC-%016X %s -j KUBE-SEP-B%015X", i, comment, i)
		for _, name := range []string{"A", "B"} {
			line("-A KUBE-SEP-%s%015X -s 10.244.9.9/32 %s -j KUBE-MARK-MASQ", name, i, comment)
			line("-A KUBE-SEP-%s%015X -p tcp %s -m tcp -j DNAT --to-destination 10.244.9.9:80", name, i, comment)
		}
	}
	line("COMMIT")
	return b.String()
}

// cpu is the time that this process and its children have used.
func cpu() time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if syscall.Getrusage(who, &usage) == nil {
			total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	return total
}

// BenchmarkAudit is what the agent does every 30 s, beside a kube-proxy with 5,000 Services and a plan with 1,000 prefixes.
func BenchmarkAudit(b *testing.B) {
	nattest.NewLab(b)
	var destinations []netip.Prefix
	for i := range 1000 {
		destinations = append(destinations, netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/25", 100+i/256, i%256)))
	}
	nattest.Apply(b, nftables.New(), nattest.Plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: destinations}))
	var questions []audit.Question
	for i := range 50 {
		questions = append(questions, audit.Question{Pod: netip.MustParseAddr(nattest.Pod4), To: netip.MustParseAddr(nattest.Outside4), Protocol: 6, Port: uint16(i + 1)})
	}
	for _, kind := range []string{"nft", "legacy"} {
		b.Run(kind, func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "kube-proxy")
			if err := os.WriteFile(file, []byte(kubeProxy()), 0o600); err != nil {
				b.Fatal(err)
			}
			nettest.Run(b, "iptables-"+kind+"-restore", file)
			b.Cleanup(func() {
				nettest.Run(b, "sh", "-c", "for i in 1 2; do iptables-"+kind+" -t nat -F; iptables-"+kind+" -t nat -X; done")
			})
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				for _, answer := range host.AskAll(context.Background(), questions) {
					if answer.Kind == audit.Unknown {
						b.Fatal(answer.Why)
					}
				}
			}
			b.ReportMetric(float64((cpu()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}
