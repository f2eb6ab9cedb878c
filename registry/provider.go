// Package registry judges what Dubbo providers have registered: what kind of address it is, whether it is reached and by the
// protocol that it promises, and if not, where it breaks. It dials through an interface and reads no registry itself.
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Provider is one address that is registered for one service.
type Provider struct {
	Registry    string `json:"registry,omitempty"` // where it was read
	Path        string `json:"path,omitempty"`     // of the entry there: what is to be removed when it is wrong
	Owner       string `json:"owner,omitempty"`    // session that the entry goes with; empty: it goes with none, or that is not known
	Application string `json:"application,omitempty"`
	Interface   string `json:"interface,omitempty"` // empty: the entry is for all of the application's (Dubbo 3)
	Group       string `json:"group,omitempty"`
	Version     string `json:"version,omitempty"`
	Protocol    string `json:"protocol,omitempty"` // dubbo, tri, grpc, rest, ...; empty: the entry does not say
	Host        string `json:"host"`               // an address in canonical form, or a name
	Port        uint16 `json:"port"`
	// Serialization that a client is to use; empty: hessian2.
	Serialization string `json:"serialization,omitempty"`
	TLS           bool   `json:"tls,omitempty"` // is spoken there
}

// Source is a registry. It calls each with every provider, or with what is wrong with an entry, whose Provider then has
// only the Path; what each returns ends the reading. What it returns itself kept it from reading on.
type Source interface {
	Providers(ctx context.Context, each func(Provider, error) error) error
}

// Service is what consumers ask for.
func (p Provider) Service() string {
	s := cmp.Or(p.Interface, p.Application)
	if p.Group != "" {
		s = p.Group + "/" + s
	}
	if p.Version != "" {
		s += ":" + p.Version
	}
	return s
}

const (
	maxName     = 1 << 20 // bytes of an entry: more cannot be written to ZooKeeper unless it is told to take more
	maxWord     = 1 << 10 // bytes of a name in it
	maxEndpoint = 64      // of an instance
)

// ParseURL understands an entry of Dubbo 2, the URL of a provider as an URL-encoded name.
func ParseURL(name string) (Provider, error) {
	var p Provider
	if len(name) > maxName {
		return p, fmt.Errorf("an URL of %d bytes", len(name))
	}
	text, err := url.QueryUnescape(name)
	if err != nil {
		return p, fmt.Errorf("not URL-encoded: %w", err)
	}
	if !utf8.ValidString(text) {
		return p, errors.New("not UTF-8")
	}
	protocol, rest, ok := strings.Cut(text, "://")
	if !ok || !isWord(protocol) {
		return p, errors.New("not an URL: it begins with no protocol")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if p.Host, p.Port, err = splitAddress(authority); err != nil {
		return p, err
	}
	p.Protocol, p.Interface = strings.Clone(strings.ToLower(protocol)), strings.Clone(path) // parts of a long text would keep all of it
	for parameter := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(parameter, "=")
		p.TLS = p.TLS || key == "ssl-enabled" && value == "true"
		into := map[string]*string{"application": &p.Application, "interface": &p.Interface, "group": &p.Group, "version": &p.Version,
			"serialization": &p.Serialization}[key]
		if into == nil || value == "" {
			continue
		}
		// dubbo-go encodes values by themselves, too; Java does not.
		if plain, err := url.QueryUnescape(value); err == nil && utf8.ValidString(plain) {
			value = plain
		}
		*into = strings.Clone(value)
	}
	if p.Interface == "" {
		return p, errors.New("an URL without an interface")
	}
	return p, p.printable()
}

// printable refuses what would play with the terminal of who reads it, or fill it.
func (p Provider) printable() error {
	for _, s := range []string{p.Application, p.Interface, p.Group, p.Version, p.Serialization} {
		if len(s) > maxWord {
			return fmt.Errorf("%q is a name of %d bytes", short(s), len(s))
		}
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("%q has characters that cannot be printed", short(s))
		}
	}
	return nil
}

// splitAddress understands HOST:PORT with everything that Dubbo writes: credentials before it, and IPv6 addresses without
// brackets.
func splitAddress(authority string) (host string, port uint16, err error) {
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 {
		return "", 0, fmt.Errorf("address %q has no port", short(authority))
	}
	if port, err = parsePort(authority[colon+1:]); err != nil {
		return "", 0, fmt.Errorf("address %q: %w", short(authority), err)
	}
	host, err = canonicalHost(strings.TrimSuffix(strings.TrimPrefix(authority[:colon], "["), "]"))
	return host, port, err
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %q is none", short(text))
	}
	return uint16(port), nil
}

// canonicalHost takes addresses, and names that could be in DNS.
func canonicalHost(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil && (addr.Zone() == "" || isWord(addr.Zone())) {
		return addr.Unmap().String(), nil
	}
	if host == "" {
		return "", errors.New("it has no host: the provider has found no address of its own")
	}
	bad := strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
	if len(host) > 253 || bad {
		return "", fmt.Errorf("host %q is no address and no name", short(host))
	}
	return strings.ToLower(host), nil
}

func isWord(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '-' && r != '.'
	})
}

// short keeps what strangers have written from filling the screen.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// instance is an entry of Curator's service discovery, as Dubbo for Java and dubbo-go write it.
type instance struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Port    int    `json:"port"`
	Payload *struct {
		Metadata map[string]json.RawMessage `json:"metadata"`
	} `json:"payload"`
}

// ParseInstance understands an entry of Dubbo 3, an instance of an application: one Provider for each endpoint, and one for
// the metadata service if that has a port of its own. Without endpoints, as other programs write it, the protocol is not known.
func ParseInstance(text []byte) ([]Provider, error) {
	if len(text) > maxName {
		return nil, fmt.Errorf("an instance of %d bytes", len(text))
	}
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	var i instance
	if err := json.Unmarshal(text, &i); err != nil {
		return nil, fmt.Errorf("not an instance: %w", err)
	}
	metadata := map[string]string{}
	if i.Payload != nil {
		for key, raw := range i.Payload.Metadata {
			var value string
			if json.Unmarshal(raw, &value) == nil {
				metadata[key] = value
			}
		}
	}
	return Instance(i.Name, i.Address, i.Port, metadata)
}

// Instance is an instance of an application with its metadata, as every registry has it in a form of its own.
func Instance(application, host string, port int, metadata map[string]string) ([]Provider, error) {
	if application == "" {
		return nil, errors.New("an instance without the name of its application")
	}
	if err := (Provider{Application: application}).printable(); err != nil {
		return nil, err
	}
	host, err := canonicalHost(strings.Trim(host, "[]"))
	if err != nil {
		return nil, err
	}
	type endpoint struct {
		Port     int    `json:"port"`
		Protocol string `json:"protocol"`
	}
	var endpoints []endpoint
	if text := metadata["dubbo.endpoints"]; text != "" {
		if err := json.Unmarshal([]byte(text), &endpoints); err != nil {
			return nil, fmt.Errorf("dubbo.endpoints: %w", err)
		}
	}
	if len(endpoints) == 0 {
		endpoints = []endpoint{{Port: port, Protocol: metadata["protocol"]}}
	}
	if len(endpoints) > maxEndpoint {
		return nil, fmt.Errorf("%d endpoints", len(endpoints))
	}
	var providers []Provider
	named := map[int]bool{}
	add := func(port int, protocol, service string) error {
		number, err := parsePort(strconv.Itoa(port))
		if err != nil {
			return err
		}
		if protocol != "" && !isWord(protocol) {
			return fmt.Errorf("protocol %q is none", short(protocol))
		}
		named[port] = true
		providers = append(providers, Provider{Application: application, Interface: service, Protocol: strings.ToLower(protocol), Host: host, Port: number})
		return nil
	}
	for _, e := range endpoints {
		if err := add(e.Port, e.Protocol, ""); err != nil {
			return nil, err
		}
	}
	// Consumers ask it for the interfaces before they call any.
	var service struct {
		Port     string `json:"port"`
		Protocol string `json:"protocol"`
	}
	if json.Unmarshal([]byte(metadata["dubbo.metadata-service.url-params"]), &service) == nil && service.Port != "" {
		if port, err := strconv.Atoi(service.Port); err != nil || !named[port] {
			if err := add(port, service.Protocol, "org.apache.dubbo.metadata.MetadataService"); err != nil {
				return nil, fmt.Errorf("dubbo.metadata-service.url-params: %w", err)
			}
		}
	}
	return providers, nil
}
