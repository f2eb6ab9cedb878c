package registry

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// lab is a cluster with two nodes of two pods each, and an egress address.
func lab() Cluster {
	return Cluster{
		Nodes: []Node{
			{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")}},
			{Name: "b", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}},
			{Name: "control", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.3")}},
		},
		Pods: map[netip.Addr]string{
			netip.MustParseAddr("10.244.1.2"): "shop/a1", netip.MustParseAddr("fd00:1::2"): "shop/a1", netip.MustParseAddr("10.244.1.3"): "shop/a2",
			netip.MustParseAddr("10.244.2.2"): "shop/b1", netip.MustParseAddr("10.244.2.3"): "shop/b2",
		},
		Egress: map[netip.Addr]string{netip.MustParseAddr("10.0.0.240"): "EgressPolicy bank"},
	}
}

// connected is a server with so many sessions of each address; "10.0.0.1=2-1" is one session and one connection without.
func connected(limit int, clients string) Server {
	s := Server{Name: "zk:2181", Limit: limit, Refused: 9}
	for client := range strings.FieldsSeq(clients) {
		address, numbers, _ := strings.Cut(client, "=")
		var n, without int
		_, _ = fmt.Sscanf(numbers, "%d-%d", &n, &without)
		for i := range n {
			c := Connection{Source: netip.AddrPortFrom(netip.MustParseAddr(address), uint16(40000+i))}
			if i >= without {
				c.Session = int64(i + 1)
			}
			s.Connections = append(s.Connections, c)
		}
	}
	return s
}

func TestJudgeConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		limit     int
		clients   string
		want      string // address, class, who, reasons
		forecasts string // node: pods, connections, fits; masqueraded
	}{
		"pods with their own addresses": {10, "10.244.1.2=1 10.244.2.2=2 fd00:1::2=1",
			"10.244.2.2 Pod pod shop/b1\n10.244.1.2 Pod pod shop/a1\nfd00:1::2 Pod pod shop/a1", "a: 2 2 10 false, b: 2 2 10 false"},
		"a node that masquerades": {10, "10.0.0.1=2 10.244.2.2=2",
			"10.0.0.1 Node node a Masqueraded\n10.244.2.2 Pod pod shop/b1", "a: 2 2 10 true, b: 2 2 10 false"},
		"a client in the node's own network": {3, "10.0.0.1=1 10.244.1.2=1 10.244.1.3=1",
			"10.0.0.1 Node node a Masqueraded\n10.244.1.2 Pod pod shop/a1\n10.244.1.3 Pod pod shop/a2", "a: 2 3 2 false"},
		"a node that masquerades IPv4 only": {10, "10.0.0.1=1 fd00:1::2=1",
			"10.0.0.1 Node node a Masqueraded\nfd00:1::2 Pod pod shop/a1", "a: 2 2 10 true"},
		"the least room first": {3, "10.244.1.2=1 10.244.2.2=3",
			"10.244.2.2 Pod pod shop/b1 LimitReached\n10.244.1.2 Pod pod shop/a1", "b: 2 3 2 false, a: 2 1 6 false"},
		"a monitor on a node":        {10, "10.0.0.1=2-2", "10.0.0.1 Node node a", ""},
		"a node without pods":        {10, "10.0.0.3=2", "10.0.0.3 Node node control", ""},
		"79 of 100":                  {100, "10.244.1.2=79", "10.244.1.2 Pod pod shop/a1", "a: 2 79 2 false"},
		"80 of 100":                  {100, "10.244.1.2=80", "10.244.1.2 Pod pod shop/a1 LimitNear", "a: 2 80 2 false"},
		"100 of 100":                 {100, "10.0.0.1=100", "10.0.0.1 Node node a Masqueraded LimitReached", "a: 2 100 2 true"},
		"no limit":                   {0, "10.0.0.1=500 10.244.2.2=900", "10.0.0.1 Node node a Masqueraded\n10.244.2.2 Pod pod shop/b1", ""},
		"an unknown limit":           {Unknown, "10.244.2.2=900", "10.244.2.2 Pod pod shop/b1", ""},
		"an egress address":          {5, "10.0.0.240=4", "10.0.0.240 Egress egress address of EgressPolicy bank LimitNear", ""},
		"somebody else":              {60, "192.0.2.9=1", "192.0.2.9 Public not of this cluster", ""},
		"a pod that has gone":        {60, "10.244.1.99=1", "10.244.1.99 Pod in the pod network of a, no pod has it", "a: 2 1 120 false"},
		"IPv4 as the server's IPv6":  {60, "::ffff:10.244.1.2=1", "10.244.1.2 Pod pod shop/a1", "a: 2 1 120 false"},
		"nobody":                     {60, "", "", ""},
		"half of the pods connected": {5, "10.0.0.1=1", "10.0.0.1 Node node a Masqueraded", "a: 2 1 10 true"},
	} {
		t.Run(name, func(t *testing.T) {
			clients, forecasts := JudgeConnections(lab(), []Server{connected(tt.limit, tt.clients)})
			var got, fore []string
			for i := range clients {
				c := &clients[i]
				text := fmt.Sprint(c.Address, " ", c.Class, " ", c.Who())
				for _, f := range c.Findings {
					text += " " + string(f.Reason)
				}
				got = append(got, text)
			}
			for _, f := range forecasts {
				fore = append(fore, fmt.Sprintf("%s: %d %d %d %v", f.Node, f.Pods, f.Connections, f.Fits, f.Masqueraded))
			}
			if g := strings.Join(got, "\n"); g != tt.want {
				t.Errorf("got\n%s\nwant\n%s", g, tt.want)
			}
			if f := strings.Join(fore, ", "); f != tt.forecasts {
				t.Errorf("forecasts %s, want %s", f, tt.forecasts)
			}
		})
	}
}

// TestForecastIsOfTheFullestServer: each server has a limit of its own.
func TestForecastIsOfTheFullestServer(t *testing.T) {
	first, second := connected(10, "10.244.1.2=1"), connected(10, "10.244.1.2=3 10.244.1.3=3")
	second.Name = "second:2181"
	if _, forecasts := JudgeConnections(lab(), []Server{first, second}); len(forecasts) != 1 || forecasts[0].Server != "second:2181" || forecasts[0].Connections != 6 {
		t.Errorf("got %+v", forecasts)
	}
}

func TestForecastInWords(t *testing.T) {
	for want, f := range map[string]Forecast{
		"a has 6 pods with 4 connections to zk as one address: 1 more fit; with so many each, the limit of 5 is exceeded with 8 pods": {Node: "a", Server: "zk", Masqueraded: true, Pods: 6, Connections: 4, Limit: 5, Fits: 7},
		"a has 6 pods with 5 connections to zk: the limit of 5 is reached, pods are refused now":                                      {Node: "a", Server: "zk", Masqueraded: true, Pods: 6, Connections: 5, Limit: 5, Fits: 6},
		"a has 6 pods with 6 connections to zk: masqueraded, 1 of these pods would be refused, for the limit is 5":                    {Node: "a", Server: "zk", Pods: 6, Connections: 6, Limit: 5, Fits: 5},
		"a has 6 pods with 6 connections to zk: masqueraded, the limit of 60 would be exceeded with 61 pods":                          {Node: "a", Server: "zk", Pods: 6, Connections: 6, Limit: 60, Fits: 60},
	} {
		if got := f.Message(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestConnectionsWithoutACluster(t *testing.T) {
	clients, forecasts := JudgeConnections(Cluster{}, []Server{connected(5, "10.0.0.1=4")})
	if len(clients) != 1 || clients[0].Class != Private || len(clients[0].Findings) != 1 || clients[0].Findings[0].Reason != LimitNear || len(forecasts) != 0 {
		t.Errorf("got %+v, %+v", clients, forecasts)
	}
	only := Cluster{Nodes: lab().Nodes} // a user that may not list pods
	clients, _ = JudgeConnections(only, []Server{connected(60, "10.0.0.1=4")})
	if len(clients[0].Findings) != 1 || !strings.Contains(clients[0].Findings[0].Message, "what its pods send is masqueraded") {
		t.Errorf("got %+v", clients)
	}
}

// TestClientInTheNodesNetwork: with pods that are seen as themselves it is no proof of masquerading, and is not said to be.
func TestClientInTheNodesNetwork(t *testing.T) {
	clients, _ := JudgeConnections(lab(), []Server{connected(60, "10.0.0.1=1 10.244.1.2=1")})
	const want = "10.0.0.1 holds sessions as node a, and 1 of its 2 pods are seen with their own addresses: some are masqueraded, or a program in the node's own network is the client"
	if len(clients[0].Findings) != 1 || clients[0].Findings[0].Message != want {
		t.Errorf("got %+v", clients)
	}
}

func TestJudgeSight(t *testing.T) {
	for seen, want := range map[string]string{
		"10.244.1.2":   "zk:2181 sees pod shop/a1 with its own address 10.244.1.2",
		"10.0.0.1":     "as 10.0.0.1, the address of node a: it is masqueraded there",
		"10.0.0.240":   "as 10.0.0.240, the egress address of EgressPolicy bank",
		"10.244.2.2":   "as 10.244.2.2, the address of pod shop/b1",
		"10.244.1.1":   "as 10.244.1.1, in the pod network of node a",
		"198.51.100.1": "as 198.51.100.1, which is of nobody that is known here",
	} {
		s := JudgeSight(lab(), "zk:2181", "shop/a1", netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr(seen))
		if !strings.Contains(s.Message, want) || s.OK != (seen == "10.244.1.2") {
			t.Errorf("%s: %+v", seen, s)
		}
	}
}
