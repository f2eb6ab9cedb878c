package zookeepertest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func ask(t *testing.T, ns nettest.NS, address, word string) string {
	t.Helper()
	return ns.Run(t, "bash", "-ec", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo %s >&3; cat <&3", address, ClientPort, word))
}

func TestAlone(t *testing.T) {
	host, client := nettest.New(t, "zk"), nettest.Self
	nettest.Join(t, client, "zk", []string{"192.0.2.1/24", "2001:db8::1/64"}, host, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	for _, address := range []string{"192.0.2.2", "2001:db8::2"} {
		s := Start(t, host, address, "maxClientCnxns=5\n4lw.commands.whitelist=*")
		if got := ask(t, client, address, "conf"); !strings.Contains(got, "maxClientCnxns=5") {
			t.Errorf("%s: conf says %s", address, got)
		}
		if err := s.Stop(); err == nil {
			t.Errorf("%s: ends well on SIGTERM", address)
		}
	}
}

func TestEnsemble(t *testing.T) {
	hosts := []Host{{nettest.Self, "127.0.0.1"}, {nettest.Self, "127.0.0.2"}, {nettest.Self, "127.0.0.3"}}
	servers := StartEnsemble(t, "", hosts...)
	leaders := 0
	for _, h := range hosts {
		if strings.Contains(ask(t, h.NS, h.Address, "srvr"), "Mode: leader") {
			leaders++
		}
	}
	if leaders != 1 {
		t.Errorf("%d leaders, want 1", leaders)
	}
	servers[0].Kill()
	servers[0].Launch(t)
	servers[0].Serves(t)
}

func TestTLS(t *testing.T) {
	config, certificate := TLS(t, "127.0.0.1")
	Start(t, nettest.Self, "127.0.0.1", config)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", SecurePort), &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
