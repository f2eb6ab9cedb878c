package zookeeper

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

// Registry is where Dubbo providers register in one ensemble.
type Registry struct {
	Name    string   // as errors and providers have it
	Servers []string // HOST:PORT of the ensemble; the first that answers is asked
	Chroot  string   // empty, or begins with /
	Group   string   // directory of interfaces; empty: dubbo
	Root    string   // directory of applications; empty: /services
	TLS     *tls.Config
	Auth    registry.Secret // USER:PASSWORD of the digest scheme
	Timeout time.Duration   // of each connection and answer
}

var _ registry.Source = (*Registry)(nil)

const (
	defaultPort   = "2181"
	defaultGroup  = "dubbo"
	defaultRoot   = "/services"
	mostProviders = 500_000   // of one registry
	mostKept      = 256 << 20 // bytes of the names that are kept of one
	keeping       = 64        // bytes that a name takes besides its own
)

// Parse understands zookeeper://HOST[:PORT][,HOST[:PORT]...][/CHROOT][?group=GROUP&rootPath=/PATH&backup=HOST:PORT,...], with
// zookeeper+tls for TLS: what Dubbo has as the address of its registry, and what ZooKeeper's clients have as connect string.
func Parse(text string) (*Registry, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if scheme != "zookeeper" && scheme != "zookeeper+tls" {
		return nil, fmt.Errorf("registry %s: want zookeeper:// or zookeeper+tls://", scheme)
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, chroot, _ := strings.Cut(rest, "/")
	values, err := url.ParseQuery(query)
	if strings.Contains(text, "@") || strings.Contains(strings.ToLower(query), "password") {
		return nil, errors.New("registry: user and password do not belong into an URL, which others can see: write them into a file, for --auth-file")
	}
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", text, err)
	}
	r := &Registry{Name: scheme + "://" + rest, Group: strings.Trim(values.Get("group"), "/"), Root: values.Get("rootPath")}
	if chroot = strings.Trim(chroot, "/"); chroot != "" {
		r.Chroot = path.Clean("/" + chroot)
	}
	if scheme == "zookeeper+tls" {
		r.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if backup := values.Get("backup"); backup != "" {
		hosts += "," + backup
	}
	for host := range strings.SplitSeq(hosts, ",") {
		server, err := withPort(host)
		if err != nil {
			return nil, fmt.Errorf("registry %s: %w", text, err)
		}
		r.Servers = append(r.Servers, server)
	}
	return r, nil
}

func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), defaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || name == "" {
		return "", fmt.Errorf("server %q: want HOST or HOST:PORT, of IPv6 [ADDRESS]:PORT", host)
	}
	return net.JoinHostPort(name, port), nil
}

// session opens one with the first server that gives one.
func (r *Registry) session(ctx context.Context) (*Session, error) {
	var errs []error
	for _, server := range r.Servers {
		s, err := r.open(ctx, server)
		if err == nil {
			return s, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (r *Registry) open(ctx context.Context, server string) (*Session, error) {
	dialing, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	conn, err := connect(dialing, &net.Dialer{}, r.TLS, server, server)
	if err != nil {
		return nil, err
	}
	return Open(ctx, conn, r.Auth, r.Timeout)
}

// Providers reads all of Dubbo 2 and of Dubbo 3.
func (r *Registry) Providers(ctx context.Context, each func(registry.Provider, error) error) error {
	s, err := r.session(ctx)
	if err != nil {
		return fmt.Errorf("registry %s: %w", r.Name, err)
	}
	defer s.Close()
	reading := reading{Registry: r, session: s, each: each}
	if err := reading.all(); err != nil {
		return fmt.Errorf("registry %s: %w", r.Name, because(ctx, err))
	}
	return nil
}

// reading is one pass through a registry.
type reading struct {
	*Registry
	session *Session
	each    func(registry.Provider, error) error
	count   int
	kept    int // bytes of names
}

func (r *reading) tell(p registry.Provider, path string, err error) error {
	if r.count++; r.count > mostProviders {
		return fmt.Errorf("more than %d entries", mostProviders)
	}
	p.Registry, p.Path = r.Name, path
	return r.each(p, err)
}

// all goes through the directories that there may be. A chroot may also be given as what it is not, the directory of
// interfaces.
func (r *reading) all() error {
	group, services := path.Join("/", r.Chroot, cmp.Or(r.Group, defaultGroup)), path.Join("/", r.Chroot, cmp.Or(r.Root, defaultRoot))
	roots := []string{group, services}
	if r.Chroot != "" {
		roots = append(roots, r.Chroot)
	}
	found := false
	var denied []error
	for _, root := range slices.Compact(roots) {
		err := r.root(root, root == services)
		if errors.Is(err, NoNode) {
			continue
		}
		found = true
		if errors.Is(err, NoAuth) {
			denied = append(denied, err) // the others may be open
		} else if err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("there is neither %s nor %s: nothing has ever registered here, or it is below another directory or group", group, services)
	}
	return errors.Join(denied...)
}

// root reads a directory of interfaces or of applications: both may be in one.
func (r *reading) root(root string, applications bool) error {
	var children []string
	err := r.children([]string{root}, func(_, name string) error {
		children = append(children, path.Join(root, name))
		return nil
	}, func(at string, err error) error { return fmt.Errorf("%s: %w", at, err) })
	if err != nil {
		return err
	}
	var interfaces, instances []string
	err = r.children(children, func(parent, name string) error {
		switch at := parent + "/" + name; {
		case name == "providers":
			interfaces = append(interfaces, at)
		case applications || isInstance(name):
			instances = append(instances, at)
		}
		return nil
	}, r.unreadable)
	if err != nil {
		return err
	}
	var entries []string
	err = r.children(interfaces, func(parent, name string) error {
		entries = append(entries, parent+"/"+name)
		return nil
	}, r.unreadable)
	if err != nil {
		return err
	}
	return errors.Join(r.entries(entries), r.instances(instances))
}

// isInstance knows names that Dubbo gives to instances, HOST:PORT.
func isInstance(name string) bool {
	_, port, err := net.SplitHostPort(name)
	_, notNumber := strconv.ParseUint(port, 10, 16)
	return err == nil && notNumber == nil
}

// unreadable reports what cannot be read and goes on; what is gone meanwhile is nobody's fault.
func (r *reading) unreadable(path string, err error) error {
	if errors.Is(err, NoNode) {
		return nil
	}
	return r.tell(registry.Provider{}, path, err)
}

// children calls each with the children of many parents.
func (r *reading) children(parents []string, each func(parent, name string) error, failed func(parent string, err error) error) error {
	return r.session.ask(requests(opGetChildren, parents), func(i int, a *answer, err error) error {
		if err != nil {
			return failed(parents[i], err)
		}
		number := 0
		return a.names(func(name string) error {
			if number++; number > mostProviders {
				return fmt.Errorf("%s has more than %d children", parents[i], mostProviders)
			}
			if r.kept += len(parents[i]) + len(name) + keeping; r.kept > mostKept {
				return fmt.Errorf("the names in it are more than %d MiB", mostKept>>20)
			}
			return each(parents[i], name)
		})
	})
}

func requests(op int32, paths []string) []request {
	list := make([]request, len(paths))
	for i, p := range paths {
		list[i] = request{op, p}
	}
	return list
}

// entries are of Dubbo 2: the name says all, and the server whose it is.
func (r *reading) entries(paths []string) error {
	return r.session.ask(requests(opExists, paths), func(i int, a *answer, err error) error {
		if err != nil {
			return r.unreadable(paths[i], err)
		}
		owner := a.owner()
		if a.err != nil {
			return a.err
		}
		p, err := registry.ParseURL(path.Base(paths[i]))
		p.Owner = ownerOf(owner)
		return r.tell(p, paths[i], err)
	})
}

// instances are of Dubbo 3: the data say all.
func (r *reading) instances(paths []string) error {
	return r.session.ask(requests(opGetData, paths), func(i int, a *answer, err error) error {
		if err != nil {
			return r.unreadable(paths[i], err)
		}
		data, owner := a.bytes(), a.owner()
		if a.err != nil {
			return a.err
		}
		providers, err := registry.ParseInstance(data)
		if err != nil {
			return r.tell(registry.Provider{}, paths[i], err)
		}
		for _, p := range providers {
			p.Owner = ownerOf(owner)
			if err := r.tell(p, paths[i], nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func ownerOf(session int64) string {
	if session == 0 {
		return ""
	}
	return fmt.Sprintf("%#x", uint64(session))
}
