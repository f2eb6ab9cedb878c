// Package neighbor writes the router's side of the nodes' BGP sessions in the languages of routers, and explains why a session
// does not come up. It is pure: it knows neither the cluster nor the routers, and what it writes is for people to enter.
package neighbor

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"text/template"
	"time"
)

// Peering is one BGPPeer as its router is to have it.
type Peering struct {
	Peer   string     // name of the BGPPeer
	Router netip.Addr // the router's address, which the nodes connect to
	ASN    uint32     // the router's
	Port   uint16     // of the router
	Nodes  []Node     // with the sessions
	// Ranges are the networks from which any address may be a node. None: each node is a neighbour of its own.
	Ranges   []netip.Prefix
	Families []Family
	// Password names the entry of a Secret with the key of TCP MD5, never the key; empty: none.
	Password    string
	Hold        time.Duration // whole seconds
	Keepalive   time.Duration // whole seconds
	BFD         BFD
	MultihopTTL uint8         // 0: directly connected
	TTLSecurity uint8         // hops, RFC 5082; 0: off
	RestartTime time.Duration // that nodes ask for, RFC 4724; 0: they have no graceful restart
	// Listens says that nodes take connections at port 179. If not, the router waits for them.
	Listens bool
	// Waits says that nodes do not connect, but wait for the router.
	Waits bool
	// OwnAS says that nodes take prefixes with their own AS in the path, as those of other nodes have that share it.
	OwnAS       bool
	Communities []string // that nodes attach to everything, standard and large ones
}

// Node is a node as the router sees it.
type Node struct {
	Name    string
	Address netip.Addr // from which its session comes
	ASN     uint32
}

// BFD is what nodes want of it; the zero value: nothing.
type BFD struct {
	Interval   time.Duration // of both sides; whole milliseconds
	Multiplier uint8
	Multihop   bool // RFC 5883
}

// Family is what the session carries of an address family.
type Family struct {
	Version int     // 4 or 6
	Accept  []Range // what nodes may announce; none: nothing
	Limit   int     // prefixes that a node may announce
	Reason  string  // of the limit
	Send    []Range // what the router announces to nodes; nil: everything
}

// Range matches prefixes inside Prefix whose length is at least Min and at most Max.
type Range struct {
	Prefix   netip.Prefix
	Min, Max int
}

// dialects, by name: what their templates cannot do.
var dialects = map[string]func(*Peering) error{
	"frr":           nothing,
	"bird":          nothing,
	"cisco-ios":     ciscoIOS,
	"cisco-nxos":    nothing,
	"arista-eos":    nothing,
	"huawei-vrp":    nothing,
	"h3c-comware":   h3cComware,
	"juniper-junos": nothing,
}

// Dialects are the names of all dialects.
func Dialects() []string {
	return []string{"frr", "bird", "cisco-ios", "cisco-nxos", "arista-eos", "huawei-vrp", "h3c-comware", "juniper-junos"}
}

//go:embed dialects
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"seconds": func(d time.Duration) int64 { return int64(d / time.Second) },
	"ms":      func(d time.Duration) int64 { return d.Milliseconds() },
	"seq":     func(i int) int { return 10 * (i + 1) },
	"word":    word,
	"symbol":  symbol,
}).ParseFS(files, "dialects/*.tmpl"))

// Render writes the router's configuration for a peering. The same peering is always the same text. It fails when the dialect
// cannot express it.
func Render(dialect string, p *Peering) (string, error) {
	check, ok := dialects[dialect]
	if !ok {
		return "", fmt.Errorf("there is no dialect %q; there are %s", dialect, strings.Join(Dialects(), ", "))
	}
	v := view{Peering: *p}
	v.Nodes = slices.SortedFunc(slices.Values(p.Nodes), func(a, b Node) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Name, b.Name))
	})
	err := p.check()
	if err == nil {
		err = check(p)
	}
	if err != nil {
		return "", fmt.Errorf("BGPPeer %s in %s: %w", p.Peer, dialect, err)
	}
	var text strings.Builder
	if err := templates.ExecuteTemplate(&text, dialect+".tmpl", v); err != nil {
		return "", err
	}
	return strings.TrimPrefix(text.String(), "\n"), nil
}

// check finds what no dialect can express.
func (p *Peering) check() error {
	switch {
	case len(p.Nodes) == 0:
		return errors.New("no node has it")
	case p.Router.Zone() != "":
		return fmt.Errorf("%s is link-local: the router sees nodes by link-local addresses too, which are not known here", p.Router)
	case p.Waits && len(p.Ranges) > 0:
		return errors.New("nodes wait for the router to connect (spec.passive), and a router cannot connect to a range: take one neighbour each")
	case p.Waits && !p.Listens:
		return errors.New("nodes wait for the router to connect (spec.passive), but do not listen at port 179 (spec.listenPort of the BGPConfiguration)")
	}
	internal := 0
	for _, n := range p.Nodes {
		if n.ASN == p.ASN {
			internal++
		}
		if n.Address.Is4() != p.Router.Is4() {
			return fmt.Errorf("node %s has no address of the family of %s", n.Name, p.Router)
		}
		if len(p.Ranges) > 0 && !slices.ContainsFunc(p.Ranges, func(r netip.Prefix) bool { return r.Contains(n.Address) }) {
			return fmt.Errorf("%s of node %s is in none of the ranges", n.Address, n.Name)
		}
	}
	if internal > 0 && internal < len(p.Nodes) {
		return fmt.Errorf("some nodes have the router's AS %d and some have not: iBGP and eBGP need a BGPPeer each", p.ASN)
	}
	return nil
}

func nothing(*Peering) error { return nil }

// ciscoIOS takes up to five AS numbers besides the first for a range.
func ciscoIOS(p *Peering) error {
	if n := len(ases(p.Nodes)); len(p.Ranges) > 0 && n > 6 {
		return fmt.Errorf("a range takes 6 AS numbers there (alternate-as), and the nodes have %d: take one neighbour each", n)
	}
	return nil
}

// h3cComware has dynamic peers of one AS.
func h3cComware(p *Peering) error {
	if len(p.Ranges) > 0 && len(ases(p.Nodes)) > 1 {
		return errors.New("a range has one AS there, and the nodes have several: take one neighbour each")
	}
	return nil
}

// ases are the AS numbers of nodes, sorted, each once.
func ases(nodes []Node) []uint32 {
	var list []uint32
	for _, n := range nodes {
		list = append(list, n.ASN)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// word leaves of a text only what no dialect gives a meaning to.
func word(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_':
			return c
		}
		return '-'
	}, text)
}

// symbol is a word as BIRD's symbols are.
func symbol(text any) string {
	return strings.NewReplacer(".", "_", "-", "_", ":", "_").Replace(word(fmt.Sprint(text)))
}

// shortened keeps names apart that are too long for a dialect.
func shortened(name string) string {
	const most = 32 // with what templates put behind it, shorter than the 47 characters of a group of Comware
	if len(name) <= most {
		return name
	}
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return fmt.Sprintf("%s-%08x", name[:most-9], sum.Sum32())
}
