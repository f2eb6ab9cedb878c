// Package nacos reads what Dubbo providers have registered in Nacos 2, by its open API of version 1.
package nacos

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/waymark-bgp/waymark/registry"
)

// Registry is where Dubbo providers register in one cluster of Nacos.
type Registry struct {
	Name      string   // as errors and providers have it
	Servers   []string // HOST:PORT; the first that answers is asked
	Namespace string   // its ID; empty: public
	Group     string   // empty: DEFAULT_GROUP
	TLS       *tls.Config
	Auth      registry.Secret // USER:PASSWORD
	Timeout   time.Duration   // of each request
}

var _ registry.Source = (*Registry)(nil)

const (
	defaultPort  = "8848"
	defaultGroup = "DEFAULT_GROUP"
	page         = 500      // services of one request
	mostServices = 100_000  // of one registry
	mostAnswer   = 32 << 20 // bytes
	requests     = 8        // at a time
)

// Parse understands nacos://HOST[:PORT][,HOST[:PORT]...][?namespace=ID&group=GROUP], as Dubbo has it, with nacos+tls for HTTPS.
func Parse(text string) (*Registry, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if scheme != "nacos" && scheme != "nacos+tls" {
		return nil, fmt.Errorf("registry %s: want nacos:// or nacos+tls://", scheme)
	}
	hosts, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if strings.Contains(text, "@") || strings.Contains(strings.ToLower(query), "password") {
		return nil, errors.New("registry: user and password do not belong into an URL, which others can see: write them into a file, for --auth-file")
	}
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", text, err)
	}
	hosts, path, _ := strings.Cut(hosts, "/")
	if path != "" {
		return nil, fmt.Errorf("registry %s: a path means nothing here: want ?namespace=ID&group=GROUP", text)
	}
	r := &Registry{Name: scheme + "://" + hosts, Namespace: values.Get("namespace"), Group: values.Get("group")}
	if r.Namespace != "" {
		r.Name += "?namespace=" + r.Namespace
	}
	if scheme == "nacos+tls" {
		r.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	for host := range strings.SplitSeq(hosts, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), defaultPort
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || name == "" {
			return nil, fmt.Errorf("registry %s: server %q: want HOST or HOST:PORT, of IPv6 [ADDRESS]:PORT", text, host)
		}
		r.Servers = append(r.Servers, net.JoinHostPort(name, port))
	}
	return r, nil
}

// Providers reads all services and their instances.
func (r *Registry) Providers(ctx context.Context, each func(registry.Provider, error) error) error {
	transport := &http.Transport{TLSClientConfig: r.TLS, MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: requests}
	defer transport.CloseIdleConnections()
	c := client{Registry: r, http: http.Client{
		Transport: transport, Timeout: r.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it would be given the token
	}}
	services, err := c.begin(ctx)
	if err == nil {
		err = c.instances(ctx, services, each)
	}
	if err != nil {
		return fmt.Errorf("registry %s: %w", r.Name, err)
	}
	return nil
}

// client asks one server.
type client struct {
	*Registry
	http  http.Client
	base  string
	token string
}

// begin finds a server that answers, and reads the names of all services.
func (c *client) begin(ctx context.Context) ([]string, error) {
	var errs []error
	for _, server := range c.Servers {
		scheme := "http"
		if c.TLS != nil {
			scheme = "https"
		}
		c.base = scheme + "://" + server + "/nacos/v1"
		err := c.login(ctx)
		var services []string
		if err == nil {
			services, err = c.services(ctx)
		}
		if err == nil {
			return services, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (c *client) login(ctx context.Context) error {
	if c.Auth.Reveal() == "" {
		return nil
	}
	user, password, _ := strings.Cut(c.Auth.Reveal(), ":")
	form := url.Values{"username": {user}, "password": {password}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/auth/login", strings.NewReader(form))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"accessToken"`
	}
	if err := c.do(request, &answer); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	c.token = answer.AccessToken
	return nil
}

func (c *client) services(ctx context.Context) ([]string, error) {
	var names []string
	for number := 1; ; number++ {
		var answer struct {
			Count int      `json:"count"`
			Names []string `json:"doms"`
		}
		err := c.get(ctx, "/ns/service/list", url.Values{"pageNo": {strconv.Itoa(number)}, "pageSize": {strconv.Itoa(page)}}, &answer)
		if err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		names = append(names, answer.Names...)
		if len(names) > mostServices {
			return nil, fmt.Errorf("more than %d services", mostServices)
		}
		if len(answer.Names) == 0 || len(names) >= answer.Count {
			return names, nil
		}
	}
}

// instance is one, as Nacos has it.
type instance struct {
	ID       string            `json:"instanceId"`
	IP       string            `json:"ip"`
	Port     int               `json:"port"`
	Metadata map[string]string `json:"metadata"`
}

// instances reads those of all services, several services at a time.
func (c *client) instances(ctx context.Context, services []string, each func(registry.Provider, error) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(requests)
	var lock sync.Mutex
	for _, service := range services {
		if category, _, ok := strings.Cut(service, ":"); ok && category != "providers" {
			continue // consumers and rules
		}
		group.Go(func() error {
			var answer struct {
				Hosts []instance `json:"hosts"`
			}
			err := c.get(ctx, "/ns/instance/list", url.Values{"serviceName": {service}, "healthyOnly": {"false"}}, &answer)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return each(registry.Provider{Registry: c.Name, Path: service}, err)
			}
			for _, i := range answer.Hosts {
				providers, err := i.providers(service)
				if err != nil {
					providers = []registry.Provider{{}}
				}
				for _, p := range providers {
					p.Registry, p.Path = c.Name, service+"/"+cmp.Or(i.ID, i.IP)
					if err := each(p, err); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// providers are what an instance offers: of Dubbo 2 one service, of Dubbo 3 all of an application. What Dubbo wrote into the
// URL of a provider is metadata here, and is judged as the URL is.
func (i instance) providers(service string) ([]registry.Provider, error) {
	if !strings.HasPrefix(service, "providers:") {
		return registry.Instance(service, i.IP, i.Port, i.Metadata)
	}
	parameters := url.Values{}
	for key, value := range i.Metadata {
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("%s is not UTF-8", key)
		}
		parameters.Set(key, value)
	}
	protocol := cmp.Or(i.Metadata["protocol"], "dubbo")
	text := protocol + "://" + net.JoinHostPort(i.IP, strconv.Itoa(i.Port)) + "/" + strings.Split(service, ":")[1] + "?" + parameters.Encode()
	p, err := registry.ParseURL(url.QueryEscape(text))
	return []registry.Provider{p}, err
}

func (c *client) get(ctx context.Context, path string, parameters url.Values, into any) error {
	parameters.Set("namespaceId", c.Namespace)
	parameters.Set("groupName", cmp.Or(c.Group, defaultGroup))
	if c.token != "" {
		parameters.Set("accessToken", c.token)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return err
	}
	return c.do(request, into)
}

// do takes an error apart whose text would have the URL, with the token in it.
func (c *client) do(request *http.Request, into any) error {
	response, err := c.http.Do(request)
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("HTTP status %d: user or password is wrong or missing, or may not read this", response.StatusCode)
	default:
		return fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, mostAnswer)).Decode(into); err != nil {
		return fmt.Errorf("not what Nacos answers: %w", err)
	}
	return nil
}
