// Package zookeepertest starts real ZooKeeper servers in the namespaces of internal/nettest, alone or as an ensemble.
package zookeepertest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The ports of every server, at its address only: so that servers of one namespace need but an address each.
const (
	ClientPort = 2181
	SecurePort = 2281 // of a server with TLS
	AdminPort  = 8080

	quorumPort, electionPort = 2888, 3888
)

// Host is where a server runs: a namespace and an address of it.
type Host struct {
	NS      nettest.NS
	Address string
}

// Server is one that runs.
type Server struct {
	*nettest.Process

	host      Host
	directory string
}

// Start starts a server that is alone, and waits until it serves. Config is more lines of its zoo.cfg, such as
// "maxClientCnxns=5" or "4lw.commands.whitelist=*".
func Start(t testing.TB, ns nettest.NS, address, config string) *Server {
	t.Helper()
	return StartEnsemble(t, config, Host{ns, address})[0]
}

// StartEnsemble starts a server on each host, in this order with the numbers 1, 2, 3, and waits until all serve. The hosts
// reach each other.
func StartEnsemble(t testing.TB, config string, hosts ...Host) []*Server {
	t.Helper()
	if len(hosts) > 1 {
		for i, h := range hosts {
			config += fmt.Sprintf("\nserver.%d=%s:%d;%s", i+1, joined(h.Address, quorumPort), electionPort, joined(h.Address, ClientPort))
		}
	}
	servers := make([]*Server, len(hosts))
	for i, h := range hosts {
		servers[i] = &Server{host: h, directory: t.TempDir()}
		servers[i].write(t, i+1, config, len(hosts) == 1)
		servers[i].Launch(t)
	}
	for _, s := range servers {
		s.Serves(t)
	}
	return servers
}

// Address is where clients reach the server.
func (s *Server) Address() netip.AddrPort {
	return netip.MustParseAddrPort(joined(s.host.Address, ClientPort))
}

func (s *Server) write(t testing.TB, id int, config string, alone bool) {
	t.Helper()
	lines := []string{
		"tickTime=500", "initLimit=20", "syncLimit=10", "dataDir=" + s.directory,
		"admin.serverAddress=" + s.host.Address, fmt.Sprintf("admin.serverPort=%d", AdminPort), config,
	}
	if alone { // in an ensemble the lines of the servers say it
		lines = append(lines, "clientPortAddress="+s.host.Address, fmt.Sprintf("clientPort=%d", ClientPort))
	}
	for name, text := range map[string]string{"zoo.cfg": strings.Join(lines, "\n"), "myid": strconv.Itoa(id)} {
		if err := os.WriteFile(filepath.Join(s.directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// classPath is the server, what it logs with, and what the manifest of its archive does not name.
const classPath = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:/usr/share/java/servlet-api.jar:" +
	"/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/netty-transport-native-unix-common.jar"

// Launch starts the server, again too with the data it had, and does not wait.
func (s *Server) Launch(t testing.TB) {
	t.Helper()
	// A small heap, and compiled in a hurry: a server lives for seconds.
	s.Process = s.host.NS.Start(t, "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto",
		"-Dzookeeper.jmx.log4j.disable=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", classPath, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(s.directory, "zoo.cfg"))
}

// session opens a session from the host itself by the bytes of a ConnectRequest: length, protocol, zxid, time, session, password.
// A server without a quorum hangs up.
const session = `exec 3<>/dev/tcp/%s/%d
printf '\0\0\0\54\0\0\0\0\0\0\0\0\0\0\0\0\0\0\47\20\0\0\0\0\0\0\0\0\0\0\0\20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >&3
test $(timeout 2 head -c 37 <&3 | wc -c) = 37
printf '\0\0\0\10\0\0\0\1\377\377\377\365' >&3`

// Serves waits until clients are served.
func (s *Server) Serves(t testing.TB) {
	t.Helper()
	nettest.Eventually(t, 60*time.Second, func() error {
		_, err := s.host.NS.Try("bash", "-ec", fmt.Sprintf(session, s.host.Address, ClientPort))
		return err
	})
}

func joined(address string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(address), port).String()
}
