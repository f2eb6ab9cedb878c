package registry

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// What can be found of connections to a registry's server.
const (
	Masqueraded  Reason = "Masqueraded"  // pods are seen with the address of their node
	LimitNear    Reason = "LimitNear"    // an address has 80 % of the connections that it may have
	LimitReached Reason = "LimitReached" // it has all: further ones are refused
	NotAsked     Reason = "NotAsked"     // a server of the ensemble could not be asked
)

// nearPercent of its limit is when an address is said to be near it.
const nearPercent = 80

// Unknown is a number that a server does not tell.
const Unknown = -1

// Server is what a server of a registry says of itself.
type Server struct {
	Name        string         // HOST:PORT
	ID          int            // in its ensemble
	Version     string         // of the program
	Mode        string         // leader, follower, observer, standalone
	Limit       int            // connections of one client address; 0: there is no limit; or Unknown
	Refused     int64          // connections since it started; or Unknown
	Connections []Connection   // but the one by which it was asked
	Members     map[int]string // HOST:PORT of the ensemble's servers by their IDs, as far as it says
}

// Connection is a connection of a client.
type Connection struct {
	Source  netip.AddrPort
	Session int64 // 0: none, as a monitor has
}

// Client is one client address at one server.
type Client struct {
	Server      string     `json:"server"`
	Address     netip.Addr `json:"address"`
	Class       Class      `json:"class"`
	Node        string     `json:"node,omitempty"`  // whose address it is, or whose pod's
	Whose       string     `json:"whose,omitempty"` // namespace/name of the pod, name of the policy
	Pods        int        `json:"pods,omitempty"`  // of the node, if it is the node's address and pods are known
	Connections int        `json:"connections"`
	Sessions    int        `json:"sessions"`
	Limit       int        `json:"limit"` // 0: there is none, -1: not known
	Findings    []Finding  `json:"findings"`
	podsKnown   bool
	asSelves    int // pods of the node, if it is the node's address, that the server sees with their own of the same IP version
}

// Forecast is what masquerading does to a node, or would do: all its pods share one limit.
type Forecast struct {
	Node        string `json:"node"`
	Server      string `json:"server"` // where the node has most connections
	Masqueraded bool   `json:"masqueraded"`
	Pods        int    `json:"pods"`
	Connections int    `json:"connections"` // of the node and its pods
	Limit       int    `json:"limit"`
	// Fits is how many such pods masquerading leaves room for: with one more, connections are refused.
	Fits int `json:"fits"`
}

// Message says it in words.
func (f Forecast) Message() string {
	each := fmt.Sprintf("%s has %d pods with %d connections to %s", f.Node, f.Pods, f.Connections, f.Server)
	switch {
	case f.Masqueraded && f.Connections >= f.Limit:
		return each + fmt.Sprintf(": the limit of %d is reached, pods are refused now", f.Limit)
	case f.Masqueraded:
		return each + fmt.Sprintf(" as one address: %d more fit; with so many each, the limit of %d is exceeded with %d pods", f.Limit-f.Connections, f.Limit, f.Fits+1)
	case f.Fits < f.Pods:
		return each + fmt.Sprintf(": masqueraded, %d of these pods would be refused, for the limit is %d", f.Pods-f.Fits, f.Limit)
	}
	return each + fmt.Sprintf(": masqueraded, the limit of %d would be exceeded with %d pods", f.Limit, f.Fits+1)
}

// JudgeConnections says who is connected to the servers of a registry: by server, those with findings first, then by number of
// connections. The forecasts are of nodes that are seen, where there is a limit: those that masquerade first, then by how much room
// there is.
func JudgeConnections(cluster Cluster, servers []Server) ([]Client, []Forecast) {
	x := cluster.index()
	pods := x.podsByNode()
	forecasts := map[string]Forecast{}
	clients := []Client{}
	for i := range servers {
		s := &servers[i]
		of := x.clients(s, pods)
		for i := range of {
			of[i].judge(s)
		}
		slices.SortFunc(of, func(a, b Client) int {
			return cmp.Or(cmp.Compare(min(len(b.Findings), 1), min(len(a.Findings), 1)), cmp.Compare(b.Connections, a.Connections), a.Address.Compare(b.Address))
		})
		clients = append(clients, of...)
		for _, f := range forecastsOf(s, of, pods) {
			if worst, ok := forecasts[f.Node]; !ok || f.Connections > worst.Connections {
				forecasts[f.Node] = f
			}
		}
	}
	list := []Forecast{}
	for _, f := range forecasts {
		list = append(list, f)
	}
	masqueraded := func(f Forecast) int {
		if f.Masqueraded {
			return 1
		}
		return 0
	}
	slices.SortFunc(list, func(a, b Forecast) int {
		return cmp.Or(cmp.Compare(masqueraded(b), masqueraded(a)), cmp.Compare(a.Fits-a.Pods, b.Fits-b.Pods), strings.Compare(a.Node, b.Node))
	})
	return clients, list
}

// podsByNode is how many pods each node has. Whose node is not known by the address is not counted.
func (c *index) podsByNode() map[string]int {
	pods := map[string]int{}
	counted := map[string]bool{} // one pod may have two addresses
	for addr, name := range c.Pods {
		if node, _ := c.podCIDR(addr); node != nil && !counted[name] {
			counted[name] = true
			pods[node.Name]++
		}
	}
	return pods
}

func (c *index) clients(s *Server, pods map[string]int) []Client {
	at := map[netip.Addr]*Client{}
	for _, connection := range s.Connections {
		addr := connection.Source.Addr().Unmap().WithZone("")
		client := at[addr]
		if client == nil {
			p := c.find(addr.String())
			client = &Client{Server: s.Name, Address: addr, Class: p.class, Whose: p.whose, Limit: s.Limit, Findings: []Finding{}, podsKnown: c.Pods != nil}
			if p.node != nil {
				client.Node = p.node.Name
			}
			if p.class == NodeAddress {
				client.Pods = pods[client.Node]
			}
			at[addr] = client
		}
		client.Connections++
		if connection.Session != 0 {
			client.Sessions++
		}
	}
	type side struct {
		node string
		is4  bool
	}
	asSelves := map[side]int{}
	for addr, client := range at {
		if client.Class == PodAddress && client.Sessions > 0 {
			asSelves[side{client.Node, addr.Is4()}]++
		}
	}
	list := make([]Client, 0, len(at))
	for addr, client := range at {
		if client.Class == NodeAddress {
			client.asSelves = asSelves[side{client.Node, addr.Is4()}]
		}
		list = append(list, *client)
	}
	return list
}

// judge adds the findings. A node without a pod has nothing to masquerade, and what has no session is a monitor.
func (c *Client) judge(s *Server) {
	add := func(reason Reason, format string, args ...any) {
		c.Findings = append(c.Findings, Finding{reason, fmt.Sprintf(format, args...)})
	}
	who := c.Who()
	if c.Class == NodeAddress && c.Sessions > 0 && (c.Pods > 0 || !c.podsKnown) {
		its := "its pods"
		if c.podsKnown {
			its = fmt.Sprintf("its %d pods", c.Pods)
		}
		if c.asSelves > 0 {
			add(Masqueraded, "%s holds sessions as %s, and %d of %s are seen with their own addresses: some are masqueraded, or a program in the node's own network is the client", c.Address, who, c.asSelves, its)
		} else {
			add(Masqueraded, "%s holds sessions as %s: what %s send is masqueraded, unless the node itself is a client", c.Address, who, its)
		}
	}
	refused := ""
	if s.Refused > 0 {
		refused = fmt.Sprintf("; it has refused %d connections since it started", s.Refused)
	}
	switch {
	case s.Limit <= 0:
	case c.Connections >= s.Limit:
		add(LimitReached, "%s, %s, has %d of the %d connections that %s allows one address: further ones are refused%s", c.Address, who, c.Connections, s.Limit, s.Name, refused)
	case c.Connections*100 >= s.Limit*nearPercent:
		add(LimitNear, "%s, %s, has %d of the %d connections that %s allows one address: after %d more it is refused%s", c.Address, who, c.Connections, s.Limit, s.Name, s.Limit-c.Connections, refused)
	}
}

// Who says whose the address is.
func (c *Client) Who() string {
	switch {
	case c.Class == NodeAddress:
		return "node " + c.Node
	case c.Class == PodAddress && c.Whose != "":
		return "pod " + c.Whose
	case c.Class == PodAddress && c.Node != "" && c.podsKnown:
		return "in the pod network of " + c.Node + ", no pod has it"
	case c.Class == PodAddress && c.Node != "":
		return "a pod of " + c.Node
	case c.Class == EgressAddress:
		return "egress address of " + c.Whose
	case c.Class == PodAddress:
		return "a pod"
	}
	return "not of this cluster"
}

func forecastsOf(s *Server, clients []Client, pods map[string]int) []Forecast {
	if s.Limit <= 0 {
		return nil
	}
	at := map[string]*Forecast{}
	for i := range clients {
		c := &clients[i]
		if pods[c.Node] == 0 || c.Sessions == 0 {
			continue
		}
		f := at[c.Node]
		if f == nil {
			f = &Forecast{Node: c.Node, Server: s.Name, Pods: pods[c.Node], Limit: s.Limit}
			at[c.Node] = f
		}
		f.Connections += c.Connections
		f.Masqueraded = f.Masqueraded || c.Class == NodeAddress && c.asSelves == 0
	}
	var list []Forecast
	for _, f := range at {
		f.Fits = f.Limit * f.Pods / f.Connections
		list = append(list, *f)
	}
	return list
}
