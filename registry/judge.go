package registry

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Reason is why an entry is no good, in one word.
type Reason string

// What can be found.
const (
	BadEntry       Reason = "BadEntry"       // cannot be understood
	UselessAddress Reason = "UselessAddress" // nobody reaches it from another host: loopback, link-local, a bridge of containers
	SourceAddress  Reason = "SourceAddress"  // is one that NAT gives to packets, nobody listens there
	Stale          Reason = "Stale"          // the pod is gone
	Duplicate      Reason = "Duplicate"      // several say that it is theirs
	WrongProtocol  Reason = "WrongProtocol"  // something else answers
	NotSpoken      Reason = "NotSpoken"      // the port is open, and nothing answers
	NotAnnounced   Reason = "NotAnnounced"   // the node does not announce the pod's prefix
	NotAtPeer      Reason = "NotAtPeer"      // it does, but no session is up
	NoRouteThere   Reason = "NoRoute"        // a router on the way knows none
	NoRouteBack    Reason = "NoRouteBack"    // the node has none for its answers
	Filtered       Reason = "Filtered"       // somebody on the way says no, or says nothing
	NobodyListens  Reason = "NobodyListens"
	Unreachable    Reason = "Unreachable" // and no more is known
)

// Finding is one thing that is wrong.
type Finding struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// Endpoint is one address and port with everybody who has registered it.
type Endpoint struct {
	Host      string     `json:"host"`
	Port      uint16     `json:"port"`
	Class     Class      `json:"class"`
	Node      string     `json:"node,omitempty"`
	Whose     string     `json:"whose,omitempty"`       // namespace/name of the pod or service, name of the policy
	Prefix    string     `json:"prefix,omitempty"`      // of the node, with the pod's address
	Announced []string   `json:"announcedTo,omitempty"` // peers that have it
	Answers   []Spoken   `json:"answers"`               // none: it was not probed
	Findings  []Finding  `json:"findings"`
	Providers []Provider `json:"providers"`
}

// Spoken is the answer to the probe of a protocol.
type Spoken struct {
	Protocol string `json:"protocol,omitempty"`
	Answer
}

// Address of the endpoint, as HOST:PORT.
func (e *Endpoint) Address() string { return hostPort(e.Host, e.Port) }

// Reachable: somebody has answered, and by each protocol that is promised.
func (e *Endpoint) Reachable() bool {
	return len(e.Answers) > 0 && !slices.ContainsFunc(e.Answers, func(s Spoken) bool { return !s.Good() })
}

func hostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// Judge says of all that is registered what it is, whether it is good, and where it breaks. Endpoints are sorted: those with
// findings first, then by address.
func Judge(cluster Cluster, providers []Provider, answers map[Target]Answer) []Endpoint {
	endpoints := gather(providers, answers)
	x := cluster.index()
	hear := hearing{nodes: map[string]bool{}, prefixes: map[netip.Prefix]bool{}, routeless: map[netip.Prefix]netip.Addr{}, last: map[netip.Prefix]netip.Addr{}}
	places := make([]place, len(endpoints))
	for i := range endpoints {
		e := &endpoints[i]
		places[i] = x.find(e.Host)
		hear.note(e, places[i])
	}
	for i := range endpoints {
		e, at := &endpoints[i], places[i]
		e.Class, e.Whose = at.class, at.whose
		if at.node != nil {
			e.Node = at.node.Name
		}
		if at.prefix.IsValid() {
			e.Prefix = at.prefix.String()
			e.Announced, _, _ = at.node.announced(at.prefix)
		}
		e.Findings = findings(x, hear, e, at)
	}
	slices.SortStableFunc(endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(min(len(b.Findings), 1), min(len(a.Findings), 1)), compareHosts(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return endpoints
}

func compareHosts(a, b string) int {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

// gather puts together what is at one address and port.
func gather(providers []Provider, answers map[Target]Answer) []Endpoint {
	type address struct {
		host string
		port uint16
	}
	at := map[address]int{}
	var endpoints []Endpoint
	for _, p := range providers {
		key := address{p.Host, p.Port}
		i, known := at[key]
		if !known {
			i = len(endpoints)
			at[key] = i
			endpoints = append(endpoints, Endpoint{Host: p.Host, Port: p.Port, Answers: []Spoken{}})
		}
		e := &endpoints[i]
		e.Providers = append(e.Providers, p)
		if a, ok := answers[p.Target()]; ok {
			if s := (Spoken{p.Protocol, a}); !slices.Contains(e.Answers, s) {
				e.Answers = append(e.Answers, s)
			}
		}
	}
	return endpoints
}

// hearing is from where packets have come back: what is behind the same node, or in the same prefix, has the same way.
type hearing struct {
	nodes    map[string]bool
	prefixes map[netip.Prefix]bool
	// routeless are routers that have said that they have no route to a prefix: they do not say it of each packet (RFC 1812, 4.3.2.8).
	routeless map[netip.Prefix]netip.Addr
	last      map[netip.Prefix]netip.Addr // routers that packets to a prefix still come to
}

func (h hearing) note(e *Endpoint, at place) {
	for _, s := range e.Answers {
		if s.Last.IsValid() && at.prefix.IsValid() {
			h.last[at.prefix] = s.Last
		}
		if s.Reach == NoRoute && at.prefix.IsValid() && s.From.IsValid() && !slices.Contains(at.node.Addresses, s.From) {
			h.routeless[at.prefix] = s.From // the node itself would say that it does not find the pod
		}
		if s.Reach != Connected && s.Reach != Refused {
			continue
		}
		if at.class == NodeAddress {
			h.nodes[at.node.Name] = true
		} else if at.prefix.IsValid() {
			h.prefixes[at.prefix] = true
		}
	}
}

func findings(x *index, hear hearing, e *Endpoint, at place) []Finding {
	list := []Finding{}
	add := func(reason Reason, format string, args ...any) {
		list = append(list, Finding{reason, fmt.Sprintf(format, args...)})
	}
	good := e.Reachable()
	switch at.class {
	case Loopback, LinkLocal, Unusable:
		if len(e.Answers) > 0 {
			break // whoever has asked there means this host, or its neighbour
		}
		add(UselessAddress, "%s is %s: another host does not reach it", e.Host, map[Class]string{Loopback: "a loopback address",
			LinkLocal: "a link-local address", Unusable: "nobody's address"}[at.class])
	case ContainerBridge:
		if at.bridge.Seen {
			add(UselessAddress, "%s is in %s, the network of %s on this host: other hosts do not reach it", e.Host, at.bridge.Prefix, at.bridge.Name)
		} else if !good {
			add(UselessAddress, "%s is in %s, as %s uses it for containers on one host: other hosts do not reach it", e.Host, at.bridge.Prefix, at.bridge.Name)
		}
	case EgressAddress:
		if !good {
			add(SourceAddress, "%s is the egress address of %s: packets leave with it, nobody listens there", e.Host, at.whose)
		}
	case PodAddress:
		connected := slices.ContainsFunc(e.Answers, func(s Spoken) bool { return s.Reach == Connected })
		switch {
		case connected: // it is somebody's, whatever the list of pods says
		case at.node == nil && at.whose == "" && len(x.Nodes) > 0 && x.Pods != nil && x.Services != nil:
			add(Stale, "%s is in the cluster's range, and no node, pod or Service has it: what had it is gone, its entry is not", e.Host)
		case at.node != nil && x.Pods != nil && at.whose == "":
			add(Stale, "no pod has %s, which is in %s of %s: the pod is gone, its entry is not", e.Host, at.prefix, at.node.Name)
		}
	}
	list = append(list, duplicates(e)...)
	if len(list) > 0 && !slices.ContainsFunc(list, func(f Finding) bool { return f.Reason != Duplicate }) || len(list) == 0 {
		for _, s := range e.Answers {
			if f, bad := spoken(e, s, at); bad {
				list = append(list, f)
			} else if s.Reach != Connected {
				list = append(list, broken(hear, e, s.Answer, at))
				break // the others are the same way
			}
		}
	}
	return list
}

// duplicates are several applications, or several sessions that hold the same service, at one address: one of them is not
// there. One process may have several sessions, each for other services.
func duplicates(e *Endpoint) []Finding {
	var applications []string
	type service struct{ registry, name, protocol string }
	owner := map[service]string{}
	var twice string
	for _, p := range e.Providers {
		if p.Application != "" && !slices.Contains(applications, p.Application) {
			applications = append(applications, p.Application)
		}
		key := service{p.Registry, p.Service(), p.Protocol}
		if p.Owner == "" {
			continue
		}
		if other, known := owner[key]; known && other != p.Owner && twice == "" {
			twice = fmt.Sprintf("two sessions, %s and %s, have registered %s at %s: one process has gone without its entry, or two have one address", other, p.Owner, p.Service(), e.Address())
		}
		owner[key] = p.Owner
	}
	var list []Finding
	if len(applications) > 1 {
		slices.Sort(applications)
		list = append(list, Finding{Duplicate, fmt.Sprintf("%s is registered by several applications: %s", e.Address(), strings.Join(applications[:min(len(applications), 5)], ", "))})
	}
	if twice != "" {
		list = append(list, Finding{Duplicate, twice})
	}
	return list
}

// spoken judges what was said where there is a connection.
func spoken(e *Endpoint, s Spoken, at place) (Finding, bool) {
	switch s.Speech {
	case Else:
		return Finding{WrongProtocol, fmt.Sprintf("%s is to be %s, and %s", e.Address(), s.Protocol, s.Detail)}, true
	case Silent, Closes:
		return Finding{NotSpoken, fmt.Sprintf("%s is to be %s, and %s", e.Address(), s.Protocol, s.Detail)}, true
	}
	return Finding{}, false
}

// broken says where the way to an endpoint breaks.
func broken(hear hearing, e *Endpoint, a Answer, at place) Finding {
	says := func(reason Reason, format string, args ...any) Finding {
		return Finding{reason, fmt.Sprintf(format, args...)}
	}
	switch {
	case a.Reach == Refused && at.class == NodeAddress:
		return says(NobodyListens, "nobody listens on %d at %s, which is the address of node %s: a pod that registers it needs hostNetwork, a hostPort or a NodePort, "+
			"or it has registered the address that its node gives to its packets", e.Port, e.Host, at.node.Name)
	case a.Reach == Refused:
		return says(NobodyListens, "%s is reached, and nobody listens on port %d", e.Host, e.Port)
	case a.Reach == Unresolved:
		return says(Unreachable, "the name %s cannot be resolved here: %s", e.Host, a.Detail)
	case a.Reach == Prohibited:
		return says(Filtered, "a filter forbids it: %s", a.Detail)
	case at.class != PodAddress || at.node == nil:
		return elsewhere(e, a, at)
	}
	n := at.node
	if _, reason, why := n.announced(at.prefix); reason != "" && !hear.prefixes[at.prefix] {
		return Finding{reason, why}
	}
	last := hear.last[at.prefix]
	there := slices.Contains(n.Addresses, last) || at.prefix.Contains(last)
	switch {
	case a.Reach == NoRoute && a.From.IsValid():
		return says(NoRouteThere, "%s has no route to %s of %s, or nobody has the address there", a.From, at.prefix, n.Name)
	case a.Reach == NoRoute:
		return says(NoRouteThere, "there is no route to %s of %s, or nobody has the address there: %s", at.prefix, n.Name, a.Detail)
	case a.Reach == NoAnswer && hear.routeless[at.prefix].IsValid() && !hear.prefixes[at.prefix]:
		return says(NoRouteThere, "%s has no route to %s of %s: it has said so of others there", hear.routeless[at.prefix], at.prefix, n.Name)
	case hear.prefixes[at.prefix]:
		return says(Filtered, "others in %s of %s answer, %s does not: it is filtered, or the pod hangs", at.prefix, n.Name, e.Address())
	case last.IsValid() && !there:
		return says(NoRouteThere, "packets to %s of %s come as far as %s, and not to the node: there the route ends, or a filter drops them", at.prefix, n.Name, last)
	case n.Unknown == "" && n.Learned == 0:
		return says(NoRouteBack, "%s announces %s, and has learned no route: it has none for its answers", n.Name, at.prefix)
	case there:
		return says(NoRouteBack, "packets to %s come to %s, and nothing comes back from the pod: its answers find no way, or are filtered", at.prefix, n.Name)
	case n.Unknown != "":
		return says(Unreachable, "nothing comes back, and what %s announces is not known: %s", n.Name, n.Unknown)
	case hear.nodes[n.Name]:
		return says(NoRouteBack, "%s itself answers, nobody in its %s does: there is no way back to here, or packets to pods are filtered", n.Name, at.prefix)
	}
	return says(Filtered, "nothing comes back from %s of %s, which is announced: it is filtered, or the route stops before the node, or there is no way back", at.prefix, n.Name)
}

// elsewhere is broken for what is no pod of a known node.
func elsewhere(e *Endpoint, a Answer, at place) Finding {
	what := map[Class]string{NodeAddress: "a node of the cluster", ServiceAddress: "a Service of Kubernetes: only hosts with kube-proxy reach a cluster IP",
		Datacenter: "a host of the datacenter", Private: "a private address of nobody that is known here", Public: "a public address",
		PodAddress: "a pod", Name: "a name", Loopback: "this host", LinkLocal: "a neighbour of this host", Unusable: "nobody's address"}[at.class]
	reason := Unreachable
	if a.Reach == NoRoute {
		reason = NoRouteThere
	}
	how := a.Detail
	if a.Reach == NoAnswer {
		how = "nothing comes back"
		if a.Last.IsValid() {
			how += ", packets come as far as " + a.Last.String()
		}
	}
	return Finding{reason, fmt.Sprintf("%s is %s: %s", e.Host, what, how)}
}
