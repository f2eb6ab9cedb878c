package nacos

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

// recorded answers as the documentation of Nacos 2's open API says. It is no real Nacos: there is none among Debian's packages.
func recorded(t *testing.T, password string) *httptest.Server {
	services := []string{"providers:com.x.Greeter:1.0:g1", "consumers:com.x.Greeter:1.0:g1", "shop", "providers:com.x.Broken::"}
	hosts := map[string]string{
		"providers:com.x.Greeter:1.0:g1": `{"instanceId":"10.244.1.7#20880#DEFAULT#DEFAULT_GROUP@@providers:com.x.Greeter:1.0:g1","ip":"10.244.1.7","port":20880,"weight":1.0,"healthy":true,"enabled":true,"ephemeral":true,"clusterName":"DEFAULT","serviceName":"DEFAULT_GROUP@@providers:com.x.Greeter:1.0:g1","metadata":{"side":"provider","interface":"com.x.Greeter","protocol":"dubbo","application":"shop","version":"1.0","group":"g1","path":"com.x.Greeter","category":"providers"},"instanceHeartBeatInterval":5000}`,
		"shop":                           `{"instanceId":"10.244.1.7#20880#DEFAULT#DEFAULT_GROUP@@shop","ip":"10.244.1.7","port":20880,"healthy":true,"metadata":{"dubbo.endpoints":"[{\"port\":20880,\"protocol\":\"dubbo\"},{\"port\":50051,\"protocol\":\"tri\"}]","dubbo.metadata.storage-type":"local"}}`,
		"providers:com.x.Broken::":       `{"ip":"10.244.1.7","port":0,"metadata":{"interface":"com.x.Broken"}},{"ip":"\u001b[2J","port":1,"metadata":{}},{"ip":"fd00:1::7","port":20880,"metadata":{"interface":"com.x.Broken","protocol":"tri"}}`,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /nacos/v1/auth/login", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("username") != "nacos" || r.FormValue("password") != password {
			http.Error(w, "unknown user!", http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"accessToken":"tok","tokenTtl":18000,"globalAdmin":true,"username":"nacos"}`)
	})
	allowed := func(w http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query()
		if password != "" && q.Get("accessToken") != "tok" {
			http.Error(w, `{"status":403,"message":"user not found!"}`, http.StatusForbidden)
			return false
		}
		if q.Get("namespaceId") != "prod" || q.Get("groupName") != "DEFAULT_GROUP" {
			_, _ = io.WriteString(w, `{"count":0,"doms":[]}`)
			return false
		}
		return true
	}
	mux.HandleFunc("GET /nacos/v1/ns/service/list", func(w http.ResponseWriter, r *http.Request) {
		if allowed(w, r) {
			at := map[string]int{"1": 0, "2": 3}[r.URL.Query().Get("pageNo")] // pages of three, whatever was asked for
			fmt.Fprintf(w, `{"count":%d,"doms":["%s"]}`, len(services), strings.Join(services[at:min(at+3, len(services))], `","`))
		}
	})
	mux.HandleFunc("GET /nacos/v1/ns/instance/list", func(w http.ResponseWriter, r *http.Request) {
		if allowed(w, r) {
			fmt.Fprintf(w, `{"name":"x","groupName":"DEFAULT_GROUP","cacheMillis":10000,"hosts":[%s],"valid":true}`, hosts[r.URL.Query().Get("serviceName")])
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func read(t *testing.T, text string, auth string) ([]string, error) {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	r.Auth, r.Timeout = registry.NewSecret(auth), time.Second
	e, err := registry.Read(t.Context(), []registry.Source{r}, nil)
	var lines []string
	for _, p := range e.Providers {
		lines = append(lines, fmt.Sprintf("%s %s %d %s of %s", p.Protocol, p.Host, p.Port, p.Service(), p.Application))
	}
	for _, b := range e.Bad {
		lines = append(lines, b.Path+": "+b.Message)
	}
	slices.Sort(lines)
	return lines, err
}

func TestProviders(t *testing.T) {
	want := []string{
		`providers:com.x.Broken::/10.244.1.7: address "10.244.1.7:0": port "0" is none`,
		"providers:com.x.Broken::/\x1b[2J: host \"\\x1b[2J\" is no address and no name",
		"tri fd00:1::7 20880 com.x.Broken of ",
		"dubbo 10.244.1.7 20880 g1/com.x.Greeter:1.0 of shop",
		"dubbo 10.244.1.7 20880 shop of shop",
		"tri 10.244.1.7 50051 shop of shop",
	}
	slices.Sort(want)
	for _, password := range []string{"", "verysecret"} {
		server := strings.TrimPrefix(recorded(t, password).URL, "http://")
		auth := ""
		if password != "" {
			auth = "nacos:" + password
		}
		got, err := read(t, "nacos://127.0.0.1:1,"+server+"?namespace=prod", auth)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\ngot\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		got, err = read(t, "nacos://"+server+"?namespace=other", auth)
		if err != nil || len(got) > 0 {
			t.Errorf("another namespace: %v, %v", got, err)
		}
		if password == "" {
			continue
		}
		for _, auth := range []string{"", "nacos:wrongword"} {
			_, err := read(t, "nacos://"+server+"?namespace=prod", auth)
			if err == nil || !strings.Contains(err.Error(), "user or password") || strings.Contains(err.Error(), "wrongword") {
				t.Errorf("with %q: %v", auth, err)
			}
		}
	}
}

// TestHostileServers: each is reported, in time, and without the secret.
func TestHostileServers(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "SSH-2.0") },
		"silent":  func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() },
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(302)
		},
		"a password in the status": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 500 \x1b[31m%s\r\n\r\n", r.FormValue("password"))
				conn.Close()
			}
		},
		"a list": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[1]") },
		"without end": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, `{"doms":["`+strings.Repeat("x", 1<<20)); err != nil {
					return
				}
			}
		},
		"ever new ones": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"accessToken":"tok","count":999999999,"doms":["%s"]}`, strings.Repeat(`a","`, 20_000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			begin := time.Now()
			got, err := read(t, "nacos://"+strings.TrimPrefix(server.URL, "http://"), "nacos:verysecret")
			if err == nil || time.Since(begin) > 5*time.Second || strings.Contains(err.Error(), "verysecret") || strings.Contains(err.Error(), "tok") || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("after %v: %v, %v", time.Since(begin), got, err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"nacos://a":                                "[a:8848]  ",
		"nacos+tls://a:1,b?namespace=n&group=g":    "[a:1 b:8848] n g",
		"nacos://u:verysecret@a":                   "error",
		"nacos://u:very?verysecret@a":              "error",
		"nacos://a?username=u&password=verysecret": "error",
		"nacos://a?password=verysecret%zz":         "error",
		"nacos://a/path":                           "error",
		"nacos://":                                 "error",
		"zookeeper://a":                            "error",
	} {
		got := "error"
		r, err := Parse(text)
		if err == nil {
			got = fmt.Sprint(r.Servers, " ", r.Namespace, " ", r.Group)
		} else if strings.Contains(err.Error(), "verysecret") {
			t.Errorf("the password is shown: %v", err)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
