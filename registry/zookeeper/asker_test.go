package zookeeper

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
	"github.com/waymark-bgp/waymark/registry"
)

var asker = Asker{Timeout: 5 * time.Second, AdminPort: zookeepertest.AdminPort}

// opened opens sessions with a server, until the test ends, and returns their IDs and sources, as the server should tell them.
func opened(t *testing.T, server string, n int) []registry.Connection {
	t.Helper()
	var list []registry.Connection
	for range n {
		conn, err := net.Dial("tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), conn, registry.Secret{}, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		list = append(list, registry.Connection{Source: conn.LocalAddr().(*net.TCPAddr).AddrPort(), Session: s.ID})
	}
	return list
}

func sorted(list []registry.Connection) []registry.Connection {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b registry.Connection) int { return a.Source.Compare(b.Source) })
	return list
}

// TestAsk: by words and by the AdminServer, of plain servers and those with TLS, the same is heard.
func TestAsk(t *testing.T) {
	secure, _ := zookeepertest.TLS(t, "127.0.0.1")
	for name, config := range map[string]string{
		"by words":            "4lw.commands.whitelist=*\nadmin.enableServer=false",
		"by the AdminServer":  "4lw.commands.whitelist=ruok",
		"some words are open": "4lw.commands.whitelist=srvr,cons",
		"by words of Netty":   secure + "\n4lw.commands.whitelist=*\nadmin.enableServer=false\nmaxClientCnxns=0",
		"by the one of Netty": secure + "\nmaxClientCnxns=0",
	} {
		t.Run(name, func(t *testing.T) {
			limit := 7
			if strings.Contains(config, "maxClientCnxns=0") {
				limit = 0
			} else {
				config += "\nmaxClientCnxns=7"
			}
			server := zookeepertest.Start(t, nettest.Self, "127.0.0.1", config).Address().String()
			sessions := opened(t, server, 3)
			var got registry.Server
			nettest.Eventually(t, 20*time.Second, func() (err error) { // connections of the start may still be there
				if got, err = asker.Ask(t.Context(), server); err == nil && len(got.Connections) != len(sessions) {
					err = fmt.Errorf("connections %v", got.Connections)
				}
				return err
			})
			if got.Limit != limit || got.Mode != "standalone" || got.Version != "3.8.0" || got.Refused != 0 || len(got.Members) != 0 {
				t.Errorf("got %+v", got)
			}
			if !slices.Equal(sorted(got.Connections), sorted(sessions)) {
				t.Errorf("connections %v, want %v", got.Connections, sessions)
			}
		})
	}
}

func TestAskEnsemble(t *testing.T) {
	hosts := []zookeepertest.Host{{NS: nettest.Self, Address: "127.0.0.1"}, {NS: nettest.Self, Address: "127.0.0.2"}, {NS: nettest.Self, Address: "127.0.0.3"}}
	for name, config := range map[string]string{"by words": "4lw.commands.whitelist=*\nadmin.enableServer=false", "by AdminServer": "4lw.commands.whitelist=ruok"} {
		t.Run(name, func(t *testing.T) {
			servers := zookeepertest.StartEnsemble(t, config, hosts...)
			var modes []string
			for i, s := range servers {
				got, err := asker.Ask(t.Context(), s.Address().String())
				if err != nil || got.ID != i+1 || fmt.Sprint(got.Members) != "map[1:127.0.0.1:2181 2:127.0.0.2:2181 3:127.0.0.3:2181]" {
					t.Errorf("%v, %+v", err, got)
				}
				modes = append(modes, got.Mode)
			}
			if slices.Sort(modes); fmt.Sprint(modes) != "[follower follower leader]" {
				t.Errorf("modes %v", modes)
			}
			if name != "by words" {
				return
			}
			servers[0].Kill()
			servers[1].Kill()
			nettest.Eventually(t, 20*time.Second, func() error { // without a quorum
				_, err := asker.Ask(t.Context(), servers[2].Address().String())
				if err == nil || !strings.Contains(err.Error(), "the server does not serve: it has no quorum") {
					return fmt.Errorf("the last says %v", err)
				}
				return nil
			})
		})
	}
}

// TestDeadByAnother: a server that is dead is not judged by the AdminServer of another of its host.
func TestDeadByAnother(t *testing.T) {
	zookeepertest.Start(t, nettest.Self, "127.0.0.1", "")
	_, err := Asker{Timeout: 2 * time.Second, AdminPort: zookeepertest.AdminPort}.Ask(t.Context(), "127.0.0.1:2199")
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

func TestAllClosed(t *testing.T) {
	server := zookeepertest.Start(t, nettest.Self, "127.0.0.1", "4lw.commands.whitelist=srvr\nadmin.enableServer=false").Address().String()
	_, err := asker.Ask(t.Context(), server)
	var closed *ClosedError
	if !errors.As(err, &closed) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"connection refused", "4lw.commands.whitelist=srvr,conf,cons,mntr", "admin.enableServer=true", "8080"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %q: %v", want, err)
		}
	}
	// The words alone will do for connections: then the limit is what is missing.
	half := zookeepertest.Start(t, nettest.Self, "127.0.0.2", "4lw.commands.whitelist=cons\nadmin.enableServer=false").Address().String()
	sessions := opened(t, half, 2)
	got, err := asker.Ask(t.Context(), half)
	if err == nil || !strings.Contains(err.Error(), "does not tell its limit") || got.Limit != registry.Unknown || len(got.Connections) < len(sessions) {
		t.Errorf("%v, %+v", err, got)
	}
}

func forever(w io.Writer, text string) {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

// TestHostileAnswers: whatever is behind the port, asking ends in time and says what was wrong.
func TestHostileAnswers(t *testing.T) {
	line := " /192.0.2.1:40000[1](queued=0,recved=1,sent=1,sid=0x1)\n"
	for name, tt := range map[string]struct {
		answer func(net.Conn)
		want   string
	}{
		"silent":                 {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "i/o timeout"},
		"hangs up":               {func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 4)) }, "hangs up at once"},
		"HTTP":                   {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, `"HTTP/1.1 400 Bad Request"`},
		"binary":                 {func(c net.Conn) { _, _ = c.Write([]byte{0xff, 0, 0xfe, '\n', '('}) }, "not understood"},
		"lines forever":          {func(c net.Conn) { forever(c, strings.Repeat("maxClientCnxns=5\n", 4000)) }, "MiB"},
		"a line that never ends": {func(c net.Conn) { forever(c, "x") }, "not understood"},
		"a byte now and then":    {func(c net.Conn) { slowly(c, strings.Repeat("maxClientCnxns=5\n", 100)) }, "does not end"},
		"connections and no end": {func(c net.Conn) { _, _ = io.WriteString(c, line); _, _ = io.Copy(io.Discard, c) }, "does not end"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Asker{Timeout: time.Second, AdminPort: 1}
			if name == "lines forever" {
				a.Timeout = 20 * time.Second // it is the size that ends it
			}
			begin := time.Now()
			_, err := a.Ask(t.Context(), serve(t, tt.answer))
			if took := time.Since(begin); err == nil || !strings.Contains(err.Error(), tt.want) || took > 3*time.Second && a.Timeout == time.Second {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
}

func slowly(w io.Writer, text string) {
	for i := range text {
		if _, err := io.WriteString(w, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestHostileAdminServers(t *testing.T) {
	elsewhere := false
	other := serve(t, func(net.Conn) { elsewhere = true })
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"silent":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "deadline exceeded"},
		"no JSON":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "invalid character"},
		"not found":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "404"},
		"forever":      {func(w http.ResponseWriter, _ *http.Request) { forever(w, strings.Repeat("[", 1<<16)) }, "MiB"},
		"redirects":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://"+other, http.StatusFound) }, "302"},
		"says nothing": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, "the configuration has no max_client_cnxns"},
		"does not serve": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"error": "This ZooKeeper instance is not currently serving requests"}`)
		}, "not currently serving"},
		"no connections": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"max_client_cnxns": 5}`) }, "the answer has no connections"},
		"a client of no address": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"max_client_cnxns": 5, "connections": [{"remote_socket_address": "nobody"}]}`)
		}, `"nobody"`},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: tt.answer}
			go server.Serve(l)
			t.Cleanup(func() { server.Close() })
			a := Asker{Timeout: time.Second, AdminPort: uint16(l.Addr().(*net.TCPAddr).Port)}
			if name == "forever" {
				a.Timeout = 20 * time.Second
			}
			words := serve(t, func(c net.Conn) {
				_, _ = io.WriteString(c, "conf is not executed because it is not in the whitelist.\n")
			})
			begin := time.Now()
			if _, err := a.Ask(t.Context(), words); err == nil || !strings.Contains(err.Error(), tt.want) || time.Since(begin) > 5*time.Second {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
	if elsewhere {
		t.Error("it went where it was sent")
	}
}

func TestSources(t *testing.T) {
	for text, want := range map[string]string{
		"/192.0.2.1:40000":                   "192.0.2.1:40000", // Java 8 to 17
		"client.example.com/192.0.2.1:40000": "192.0.2.1:40000",
		"192.0.2.1:40000":                    "192.0.2.1:40000", // of the AdminServer
		"/[2001:db8:0:0:0:0:0:1]:40000":      "[2001:db8::1]:40000",
		"/2001:db8:0:0:0:0:0:1:40000":        "[2001:db8::1]:40000", // Java 8 and 11
		"/[fe80:0:0:0:0:0:0:1%eth0]:40000":   "[fe80::1]:40000",
		"[0:0:0:0:0:ffff:c000:201]:40000":    "192.0.2.1:40000",
	} {
		if got, err := sourceOf(text); err != nil || got != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestMembers(t *testing.T) {
	for line, want := range map[string]string{
		"10.0.0.1:2888:3888:participant;0.0.0.0:2181":                     "10.0.0.1:2181",
		"zk-1.zk:2888:3888:participant;2182":                              "zk-1.zk:2182",
		"zk-1.zk:2888:3888:observer;10.1.1.1:2183":                        "10.1.1.1:2183",
		"zk-1:2888:3888:participant":                                      "zk-1:0", // its own zoo.cfg says the port
		"zk-1:2888:3888|zk-1b:2888:3888:participant;2181":                 "zk-1:2181",
		"[0:0:0:0:0:0:0:1]:2888:3888:participant;[0:0:0:0:0:0:0:0]:2181":  "[::1]:2181",
		"[2001:db8::1]:2888:3888:participant;[2001:db8:0:0:0:0:0:2]:2181": "[2001:db8::2]:2181",
		"nobody": "",
		"":       "",
	} {
		if got := member(line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(" /127.0.0.1:47712[1](queued=0,recved=1,sent=1,sid=0x1000252d35c0001,lop=SESS,est=1795268141588,to=10000)")
	f.Add("server.2=[0:0:0:0:0:0:0:1]:12882:13882:participant;[0:0:0:0:0:0:0:0]:22182")
	f.Add("server.1=a:1:2|b:1:2:observer;3")
	f.Add("maxClientCnxns=60")
	f.Add("Zookeeper version: 3.8.0-${mvngit.commit.id}, built on 2024-12-29 17:54 UTC")
	f.Add("zk_connection_rejected\t-1")
	f.Add("/[::1%]:0[](")
	f.Fuzz(func(t *testing.T, line string) {
		s := registry.Server{Limit: registry.Unknown, Refused: registry.Unknown, Members: map[int]string{}}
		_ = readConf(line, &s)
		_ = readSrvr(line, &s)
		_ = readMntr(line, &s)
		if s.Limit < registry.Unknown {
			t.Errorf("limit %d", s.Limit)
		}
		for _, address := range s.Members {
			if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
				t.Errorf("member %q: %v", address, err)
			}
		}
		if c, err := readCons(strings.TrimSpace(line)); err == nil && (!c.Source.IsValid() || c.Source.Addr().Zone() != "") {
			t.Errorf("source %v", c.Source)
		}
	})
}

func TestAskByTLS(t *testing.T) {
	config, certificate := zookeepertest.TLS(t, "127.0.0.1")
	server := fmt.Sprintf("127.0.0.1:%d", zookeepertest.SecurePort)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	secure, plain := asker, Asker{Timeout: time.Second, AdminPort: 1}
	secure.TLS = &tls.Config{RootCAs: roots}
	for name, more := range map[string]string{"by words": "4lw.commands.whitelist=*\nadmin.enableServer=false", "by AdminServer": "4lw.commands.whitelist=ruok"} {
		t.Run(name, func(t *testing.T) {
			zookeepertest.Start(t, nettest.Self, "127.0.0.1", config+more)
			got, err := secure.Ask(t.Context(), server)
			if err != nil || got.Limit != 60 {
				t.Errorf("%v, %+v", err, got)
			}
			if seen, err := secure.SeenAs(t.Context(), &net.Dialer{}, server, server); err != nil || seen.String() != "127.0.0.1" {
				t.Errorf("seen as %v, %v", seen, err)
			}
			// The certificate is to be of the host that was named, wherever that is.
			if seen, err := secure.SeenAs(t.Context(), &net.Dialer{}, "elsewhere:2281", server); err == nil {
				t.Errorf("by another name: seen as %v", seen)
			}
			if _, err := plain.Ask(t.Context(), server); err == nil || !strings.Contains(err.Error(), "the port is one for TLS") {
				t.Errorf("without TLS: %v", err)
			}
		})
	}
}
