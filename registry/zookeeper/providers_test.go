package zookeeper

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
	"github.com/waymark-bgp/waymark/registry"
)

const address = "127.0.0.1:2181"

// writer is another client of ZooKeeper's, that writes.
func writer(t *testing.T) *zk.Conn {
	t.Helper()
	c, _, err := zk.Connect([]string{address}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// create makes a node and those above it, which stay.
func create(t *testing.T, c *zk.Conn, at, data string, flags int32, acl ...zk.ACL) {
	t.Helper()
	if len(acl) == 0 {
		acl = zk.WorldACL(zk.PermAll)
	}
	if parent := path.Dir(at); parent != "/" {
		if ok, _, err := c.Exists(parent); err != nil || !ok {
			create(t, c, parent, "", 0)
		}
	}
	if _, err := c.Create(at, []byte(data), flags, acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
		t.Fatalf("create %.200s: %v", at, err)
	}
}

// read returns what a registry has, each provider or complaint on a line.
func read(t *testing.T, text string, change func(*Registry)) ([]string, error) {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r.Timeout = 5 * time.Second
	if change != nil {
		change(r)
	}
	entries, err := registry.Read(t.Context(), []registry.Source{r}, nil)
	var lines []string
	for _, p := range entries.Providers {
		owner := "stays"
		if p.Owner != "" {
			owner = "goes"
		}
		lines = append(lines, fmt.Sprintf("%s %s:%d %s of %s, %s", p.Protocol, p.Host, p.Port, p.Service(), p.Application, owner))
	}
	for _, b := range entries.Bad {
		lines = append(lines, fmt.Sprintf("%.60s: %.60s", b.Path, b.Message))
	}
	slices.Sort(lines)
	return lines, err
}

func want(t *testing.T, got []string, err error, lines ...string) {
	t.Helper()
	slices.Sort(lines)
	if err != nil || !slices.Equal(got, lines) {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

const greeter = "dubbo://10.244.1.7:20880/com.x.Greeter?application=shop&interface=com.x.Greeter&group=g1&version=1.0"

func TestProviders(t *testing.T) {
	zookeepertest.Start(t, nettest.Self, "127.0.0.1", "")
	c := writer(t)
	t.Run("nothing", func(t *testing.T) {
		if _, err := read(t, "zookeeper://"+address, nil); err == nil || !strings.Contains(err.Error(), "neither /dubbo nor /services") {
			t.Errorf("%v", err)
		}
	})
	create(t, c, "/dubbo/com.x.Greeter/providers/"+url.QueryEscape(greeter), "", zk.FlagEphemeral)
	create(t, c, "/dubbo/com.x.Greeter/providers/"+url.QueryEscape("tri://10.244.1.8:50051/com.x.Greeter?application=shop"), "", 0)
	create(t, c, "/dubbo/com.x.Greeter/consumers/"+url.QueryEscape("consumer://10.244.1.9/com.x.Greeter"), "", 0)
	create(t, c, "/dubbo/com.x.Empty/configurators", "", 0)
	create(t, c, "/dubbo/com.x.Broken/providers/dubbo%3A%2F%2F10.244.1.7%ZZ", "", 0)
	create(t, c, "/dubbo/com.x.Broken/providers/dubbo%3A%2F%2F10.244.1.7%3A20880%2F%FF%FE", "", 0)
	create(t, c, "/dubbo/mapping/com.x.Greeter", "shop", 0)
	create(t, c, "/dubbo/metadata/com.x.Greeter/1.0/g1/provider/shop", "{}", 0)
	create(t, c, "/services/shop/10.244.1.7:20880", `{"name":"shop","address":"10.244.1.7","port":20880,"payload":{"metadata":{"dubbo.endpoints":"[{\"port\":20880,\"protocol\":\"dubbo\"}]"}}}`, zk.FlagEphemeral)
	create(t, c, "/services/shop/10.244.1.9:20880", "garbage", 0)
	all := []string{
		"dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop, goes",
		"tri 10.244.1.8:50051 com.x.Greeter of shop, stays",
		"dubbo 10.244.1.7:20880 shop of shop, goes",
		`/dubbo/com.x.Broken/providers/dubbo%3A%2F%2F10.244.1.7%ZZ: not URL-encoded: invalid URL escape "%ZZ"`,
		`/dubbo/com.x.Broken/providers/dubbo%3A%2F%2F10.244.1.7%3A208: not UTF-8`,
		`/services/shop/10.244.1.9:20880: not an instance: invalid character 'g' looking for beginning`,
	}
	t.Run("all of Dubbo 2 and 3", func(t *testing.T) {
		got, err := read(t, "zookeeper://"+address, nil)
		want(t, got, err, all...)
	})
	t.Run("the first server that answers", func(t *testing.T) {
		got, err := read(t, "zookeeper://127.0.0.1:2199,"+address, nil)
		want(t, got, err, all...)
		got, err = read(t, "zookeeper://127.0.0.1:2199?backup="+address, nil)
		want(t, got, err, all...)
	})
	t.Run("the directory of interfaces as a chroot", func(t *testing.T) {
		got, err := read(t, "zookeeper://"+address+"/dubbo", nil)
		if err != nil || !slices.Contains(got, all[0]) || !slices.Contains(got, all[1]) {
			t.Errorf("%v\n%s", err, strings.Join(got, "\n"))
		}
	})
	create(t, c, "/prod/blue/com.x.Greeter/providers/"+url.QueryEscape(greeter), "", 0)
	t.Run("chroot and group", func(t *testing.T) {
		got, err := read(t, "zookeeper://"+address+"/prod?group=blue", nil)
		want(t, got, err, "dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop, stays")
	})
	create(t, c, "/locked/dubbo/com.x.Open/providers/"+url.QueryEscape(greeter), "", 0)
	create(t, c, "/locked/dubbo/com.x.Greeter/providers", "", 0, zk.DigestACL(zk.PermAll, "dubbo", "secret")...)
	if err := c.AddAuth("digest", []byte("dubbo:secret")); err != nil {
		t.Fatal(err)
	}
	create(t, c, "/locked/dubbo/com.x.Greeter/providers/"+url.QueryEscape(greeter), "", 0)
	t.Run("login", func(t *testing.T) {
		got, err := read(t, "zookeeper://"+address+"/locked", nil)
		want(t, got, err, "dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop, stays", "/locked/dubbo/com.x.Greeter/providers: this user may not read it")
		got, err = read(t, "zookeeper://"+address+"/locked", func(r *Registry) { r.Auth = registry.NewSecret("dubbo:secret") })
		want(t, got, err, "dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop, stays", "dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop, stays")
	})
	create(t, c, "/half/services/shop/10.244.1.7:20880", `{"name":"shop","address":"10.244.1.7","port":20880}`, 0)
	create(t, c, "/half/dubbo", "", 0, zk.DigestACL(zk.PermAll, "dubbo", "secret")...)
	t.Run("a directory that is closed, and one that is open", func(t *testing.T) {
		got, err := read(t, "zookeeper://"+address+"/half", nil)
		if !slices.Contains(got, " 10.244.1.7:20880 shop of shop, stays") || !errors.Is(err, NoAuth) || !strings.Contains(err.Error(), "/half/dubbo: this user may not read it") {
			t.Errorf("%v\n%s", err, strings.Join(got, "\n"))
		}
	})
	create(t, c, "/huge/services/shop/10.244.1.7:1", strings.Repeat("x", 1_000_000), 0)
	t.Run("a node of 1 MB", func(t *testing.T) {
		got, err := read(t, "zookeeper://"+address+"/huge", nil)
		want(t, got, err, "/huge/services/shop/10.244.1.7:1: not an instance: invalid character 'x' looking for beginning")
	})
}

func TestManyChildren(t *testing.T) {
	zookeepertest.Start(t, nettest.Self, "127.0.0.1", "")
	c := writer(t)
	const children = 100_000
	create(t, c, "/dubbo/com.x.Greeter/providers", "", 0)
	var batch []any
	for i := range children {
		name := url.QueryEscape(fmt.Sprintf("dubbo://10.244.%d.%d:20880/com.x.Greeter?application=shop&side=provider&n=%d", i/250%250, i%250+1, i))
		batch = append(batch, &zk.CreateRequest{Path: "/dubbo/com.x.Greeter/providers/" + name, Acl: zk.WorldACL(zk.PermAll)})
		if len(batch) == 1000 {
			if _, err := c.Multi(batch...); err != nil {
				t.Fatal(err)
			}
			batch = nil
		}
	}
	begin := time.Now()
	got, err := read(t, "zookeeper://"+address, func(r *Registry) { r.Timeout = time.Minute })
	t.Logf("%d children in %v", len(got), time.Since(begin))
	if err != nil || len(got) != children {
		t.Errorf("%d, %v", len(got), err)
	}
}

func TestTLS(t *testing.T) {
	config, certificate := zookeepertest.TLS(t, "127.0.0.1")
	zookeepertest.Start(t, nettest.Self, "127.0.0.1", config)
	create(t, writer(t), "/dubbo/com.x.Greeter/providers/"+url.QueryEscape(greeter), "", 0)
	secure := fmt.Sprintf("127.0.0.1:%d", zookeepertest.SecurePort)
	got, err := read(t, "zookeeper+tls://"+secure, func(r *Registry) {
		r.TLS.RootCAs = x509.NewCertPool()
		r.TLS.RootCAs.AppendCertsFromPEM(certificate)
	})
	want(t, got, err, "dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop, stays")
	var unknown x509.UnknownAuthorityError
	if _, err := read(t, "zookeeper+tls://"+secure, nil); !errors.As(err, &unknown) {
		t.Errorf("an unknown authority: %v", err)
	}
	begin := time.Now()
	if _, err := read(t, "zookeeper://"+secure, func(r *Registry) { r.Timeout = time.Second }); err == nil || time.Since(begin) > 3*time.Second {
		t.Errorf("without TLS: %v after %v", err, time.Since(begin))
	}
	if _, err := read(t, "zookeeper+tls://"+address, func(r *Registry) { r.Timeout = time.Second; r.TLS = &tls.Config{InsecureSkipVerify: true} }); err == nil {
		t.Error("TLS where there is none")
	}
}

// serve answers each connection.
func serve(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// session is a good answer to a request for one.
const session = "\x00\x00\x00\x24" + "\x00\x00\x00\x00" + "\x00\x00\x75\x30" + "\x00\x00\x00\x00\x00\x00\x00\x07" + "\x00\x00\x00\x10" + "0123456789abcdef"

// TestHostileServers: every one is reported, in time.
func TestHostileServers(t *testing.T) {
	const header = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, tt := range map[string]struct {
		says string
		want string
	}{
		"silent":                   {"", "no answer"},
		"HTTP":                     {"HTTP/1.1 400 Bad Request\r\n\r\n", `not ZooKeeper: its answer begins with "HTTP/1.1 400`},
		"SSH":                      {"SSH-2.0-OpenSSH_9.2\r\n", "not ZooKeeper"},
		"no session":               {strings.Replace(session, "\x07", "\x00", 1), "no session"},
		"silent after the session": {session, "does not answer"},
		"a frame of 4 bytes":       {session + "\x00\x00\x00\x04\x00\x00\x00\x01", "breaks off"},
		"a frame of 4 GB":          {session + "\xff\xff\xff\xff", "4294967295 bytes"},
		"two billion children":     {session + "\x00\x00\x00\x14\x00\x00\x00\x01" + header + "\x7f\xff\xff\xff", "breaks off"},
		"a child of 2 GB":          {session + "\x00\x00\x00\x18\x00\x00\x00\x01" + header + "\x00\x00\x00\x01\x7f\xff\xff\xff", "a name or data of 2147483647 bytes"},
		"less children than none":  {session + "\x00\x00\x00\x14\x00\x00\x00\x01" + header + "\xff\xff\xff\xff", "does not answer"},
		"another request":          {session + "\x00\x00\x00\x14\x00\x00\x00\x09" + header + "\x00\x00\x00\x00", "request 9 in place of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(c net.Conn) {
				_, _ = io.WriteString(c, tt.says)
				_, _ = io.Copy(io.Discard, c)
			})
			begin := time.Now()
			_, err := read(t, "zookeeper://"+server, func(r *Registry) { r.Timeout = 500 * time.Millisecond })
			if err == nil || !strings.Contains(err.Error(), tt.want) || time.Since(begin) > 2*time.Second {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
	t.Run("hangs up", func(t *testing.T) {
		_, err := read(t, "zookeeper://"+serve(t, func(net.Conn) {}), nil)
		if err == nil {
			t.Error("no error")
		}
	})
	t.Run("a byte now and then", func(t *testing.T) {
		server := serve(t, func(c net.Conn) {
			for i := 0; ; i++ {
				if _, err := c.Write([]byte{session[i%len(session)]}); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
		begin := time.Now()
		if _, err := read(t, "zookeeper://"+server, func(r *Registry) { r.Timeout = 500 * time.Millisecond }); err == nil || time.Since(begin) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
	t.Run("the caller gives up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r := Registry{Servers: []string{serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })}, Timeout: time.Minute}
		if err := r.Providers(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// TestEndlessNames: each directory has few enough names, and all of them are too many to be kept.
func TestEndlessNames(t *testing.T) {
	const names = 2000
	list := strings.Repeat("\x00\x00\x03\xe8"+strings.Repeat("x", 1000), names)
	server := serve(t, func(c net.Conn) {
		hello := make([]byte, 4+45)
		if _, err := io.ReadFull(c, hello); err != nil {
			return
		}
		_, _ = io.WriteString(c, session)
		for {
			head := make([]byte, 4)
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint32(head))
			if _, err := io.ReadFull(c, body); err != nil {
				return
			}
			children := uint32(names)
			text := list
			if bytes.Count(body, []byte("/")) == 2 { // an interface
				children, text = 1, "\x00\x00\x00\x09providers"
			}
			answer := append(append(body[:4:4], make([]byte, 8+4)...), binary.BigEndian.AppendUint32(nil, children)...)
			if _, err := c.Write(frameOf(append(answer, text...))); err != nil {
				return
			}
		}
	})
	if _, err := read(t, "zookeeper://"+server, nil); err == nil || !strings.Contains(err.Error(), "the names in it are more than 256 MiB") {
		t.Errorf("%v", err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"zookeeper://a":                                   "[a:2181] ",
		"zookeeper://a:1,b,[::1]:3/x/y/":                  "[a:1 b:2181 [::1]:3] /x/y",
		"zookeeper://a/?backup=b:2,c&group=/g/":           "[a:2181 b:2 c:2181] ",
		"zookeeper://::1":                                 "[[::1]:2181] ",
		"zookeeper://":                                    "error",
		"zookeeper://a:0":                                 "error",
		"zookeeper://user:verysecret@a":                   "error",
		"zookeeper://a?username=u&password=verysecret%zz": "error",
		"zookeeper://a?PassWord=verysecret%zz":            "error",
		"zookeeper://user:very/verysecret@a":              "error",
		"zookeeper://user:very?verysecret@a":              "error",
		"http://a":                                        "error",
		"zookeeper://a?%zz":                               "error",
	} {
		got := "error"
		r, err := Parse(text)
		if err == nil {
			got = fmt.Sprint(r.Servers, " ", r.Chroot)
		} else if strings.Contains(err.Error(), "verysecret") {
			t.Errorf("the password is shown: %v", err)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
