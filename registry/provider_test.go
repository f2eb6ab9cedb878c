package registry

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func line(p Provider) string {
	return fmt.Sprintf("%s %s %s of %s", p.Protocol, hostPort(p.Host, p.Port), p.Service(), p.Application)
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"dubbo://10.244.1.7:20880/com.x.Greeter?anyhost=true&application=shop&group=g1&interface=com.x.Greeter&side=provider&version=1.0": "dubbo 10.244.1.7:20880 g1/com.x.Greeter:1.0 of shop",
		"tri://10.244.1.7:50051/com.x.Greeter":                            "tri 10.244.1.7:50051 com.x.Greeter of ",
		"DUBBO://user:pw@Shop-0.Example.com:20880/path?interface=com.x.Y": "dubbo shop-0.example.com:20880 com.x.Y of ",
		"dubbo://[fd00:1::7]:20880/com.x.Greeter":                         "dubbo [fd00:1::7]:20880 com.x.Greeter of ",
		"dubbo://fd00:1:0:0:0:0:0:7:20880/com.x.Greeter":                  "dubbo [fd00:1::7]:20880 com.x.Greeter of ",
		"dubbo://[::ffff:10.0.0.1]:1/x":                                   "dubbo 10.0.0.1:1 x of ",
		"dubbo://fe80:0:0:0:1:2:3:4%eth0:20880/x":                         "dubbo [fe80::1:2:3:4%eth0]:20880 x of ",
		"dubbo://10.0.0.1:1/x?application=a%2Fb":                          "dubbo 10.0.0.1:1 x of a/b",
		"":                                                                `error: not an URL: it begins with no protocol`,
		"10.0.0.1:20880":                                                  `error: not an URL: it begins with no protocol`,
		"dubbo://10.0.0.1/x":                                              `error: address "10.0.0.1" has no port`,
		"dubbo://10.0.0.1:0/x":                                            `error: address "10.0.0.1:0": port "0" is none`,
		"dubbo://10.0.0.1:65536/x":                                        `error: address "10.0.0.1:65536": port "65536" is none`,
		"dubbo://10.0.0.1:1":                                              `error: an URL without an interface`,
		"dubbo://10.0.0.1;rm:1/x":                                         `error: host "10.0.0.1;rm" is no address and no name`,
		"dubbo://:1/x":                                                    `error: it has no host: the provider has found no address of its own`,
		"dubbo://10.0.0.1:1/\x1b[2Jx":                                     `error: "\x1b[2Jx" has characters that cannot be printed`,
		"dubbo://[fe80::1%\x1b[2J]:1/x":                                   `error: host "fe80::1%\x1b[2J" is no address and no name`,
		"dubbo://10.0.0.1:1/" + strings.Repeat("x", 1025):                 `error: "` + strings.Repeat("x", 64) + `..." is a name of 1025 bytes`,
		"dubbo://\xff:1/x":                                                `error: not UTF-8`,
		"dubbo://" + strings.Repeat("a", 254) + ":1/x":                    `error: host "` + strings.Repeat("a", 64) + `..." is no address and no name`,
	} {
		p, err := ParseURL(url.QueryEscape(text))
		got := line(p)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%.80s\ngot  %s\nwant %s", text, got, want)
		}
	}
	if _, err := ParseURL("dubbo%3A%2F%2F%ZZ"); err == nil {
		t.Error("a broken escape is taken")
	}
	if _, err := ParseURL(strings.Repeat("x", maxName+1)); err == nil {
		t.Error("a name of more than 1 MB is taken")
	}
}

// javaInstance is as Dubbo 3.2 for Java writes it, goInstance as dubbo-go 3.3.0 does.
const (
	javaInstance = `{"name":"shop","id":"10.244.1.7:20880","address":"10.244.1.7","port":20880,"sslPort":null,"payload":{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","id":"10.244.1.7:20880","name":"shop","metadata":{"dubbo.endpoints":"[{\"port\":20880,\"protocol\":\"dubbo\"},{\"port\":50051,\"protocol\":\"tri\"}]","dubbo.metadata-service.url-params":"{\"connections\":\"1\",\"version\":\"1.0.0\",\"dubbo\":\"2.0.2\",\"release\":\"3.2.0\",\"side\":\"provider\",\"port\":\"20881\",\"protocol\":\"dubbo\"}","dubbo.metadata.revision":"6f2c","dubbo.metadata.storage-type":"local","timestamp":"1700000000000"}},"registrationTimeUTC":1700000000000,"serviceType":"DYNAMIC","uriSpec":null}`
	goInstance   = `{"name":"shop","id":"10.244.1.8:20000","address":"10.244.1.8","port":20000,"payload":{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","id":"10.244.1.8:20000","metadata":{"dubbo.endpoints":"[{\"port\":20000,\"protocol\":\"tri\"}]","dubbo.metadata-service.url-params":"{\"port\":\"20000\",\"protocol\":\"tri\"}","dubbo.metadata.storage-type":"local"},"name":"shop"}}`
)

func TestParseInstance(t *testing.T) {
	for text, want := range map[string]string{
		javaInstance: "dubbo 10.244.1.7:20880 shop of shop, tri 10.244.1.7:50051 shop of shop, dubbo 10.244.1.7:20881 org.apache.dubbo.metadata.MetadataService of shop",
		goInstance:   "tri 10.244.1.8:20000 shop of shop",
		// Spring Cloud writes there, too.
		`{"name":"web","address":"10.244.1.9","port":8080,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","metadata":{}}}`: " 10.244.1.9:8080 web of web",
		`{"name":"web","address":"[fd00::1]","port":8080,"payload":null}`:                                                                                        " [fd00::1]:8080 web of web",
		`{"name":"web","address":"10.244.1.9","port":8080,"payload":{"metadata":{"protocol":7}}}`:                                                                " 10.244.1.9:8080 web of web",
		`{}`:                                "error: an instance without the name of its application",
		`{"name":"x\u001b"}`:                `error: "x\x1b" has characters that cannot be printed`,
		`{"name":"x","address":"10.0.0.1"}`: `error: port "0" is none`,
		`{"name":"x","address":"10.0.0.1","port":-1}`: `error: port "-1" is none`,
		`{"name":"x","address":"a b","port":1}`:       `error: host "a b" is no address and no name`,
		`[]`:                                          "error: not an instance: json: cannot unmarshal array into Go value of type registry.instance",
		"\xff":                                        "error: not UTF-8",
		`{"name":"x","address":"10.0.0.1","port":1,"payload":{"metadata":{"dubbo.endpoints":"["}}}`:                                      "error: dubbo.endpoints: unexpected end of JSON input",
		`{"name":"x","address":"10.0.0.1","port":1,"payload":{"metadata":{"dubbo.endpoints":"[{\"port\":1,\"protocol\":\"\u001b\"}]"}}}`: `error: dubbo.endpoints: invalid character '\x1b' in string literal`,
		`{"name":"x","address":"10.0.0.1","port":1,"payload":{"metadata":{"dubbo.metadata-service.url-params":"{\"port\":\"x\"}"}}}`:     `error: dubbo.metadata-service.url-params: port "0" is none`,
	} {
		providers, err := ParseInstance([]byte(text))
		var lines []string
		for _, p := range providers {
			lines = append(lines, line(p))
		}
		got := strings.Join(lines, ", ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func checkProvider(t *testing.T, p Provider) {
	if p.Port == 0 || p.Host == "" || !utf8.ValidString(p.Host+p.Interface+p.Application+p.Group+p.Version) || p.printable() != nil {
		t.Errorf("%+v", p)
	}
	new(Cluster).index().find(p.Host)
}

func FuzzParseURL(f *testing.F) {
	f.Add(url.QueryEscape("dubbo://10.244.1.7:20880/com.x.Greeter?application=shop&group=g&version=1"))
	f.Add(url.QueryEscape("tri://u:p@[fe80::1%eth0]:20880/com.x.Greeter"))
	f.Fuzz(func(t *testing.T, name string) {
		if p, err := ParseURL(name); err == nil {
			checkProvider(t, p)
		}
	})
}

func FuzzParseInstance(f *testing.F) {
	f.Add([]byte(javaInstance))
	f.Add([]byte(goInstance))
	f.Fuzz(func(t *testing.T, text []byte) {
		providers, err := ParseInstance(text)
		for _, p := range providers {
			if err == nil {
				checkProvider(t, p)
			}
		}
	})
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := NewSecret("user:verysecret")
	text, _ := s.MarshalText()
	if all := fmt.Sprintf("%v %+v %#v %s %q", s, s, s, text, struct{ S Secret }{s}); strings.Contains(all, "verysecret") {
		t.Error(all)
	}
}
