package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"strconv"

	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/ipam"
	"github.com/waymark-bgp/waymark/route/export"
)

// manifest is a line that only files of objects have, in YAML or JSON.
var manifest = regexp.MustCompile(`(?m)^[\s{\[-]*"?apiVersion"?\s*:`)

// source reads what the datacenter uses, from one of the places that --datacenter may name.
func (o *cidrOptions) source(ctx context.Context, stdin io.Reader, from *access, name string) (cidrSource, []ipam.Claim, error) {
	s := cidrSource{Source: name, Unread: []export.Unread{}}
	switch name {
	case "cluster":
		c, err := from.read(ctx)
		if err != nil {
			return s, nil, err
		}
		return s, s.cluster(c), nil
	case "agent":
		routes, err := telemetry.Client{RunDir: o.runDir}.Routes(ctx)
		if err != nil {
			return s, nil, err
		}
		var claims []ipam.Claim
		for _, r := range routes {
			claims = append(claims, ipam.Claim{Kind: ipam.Route, Name: "learned by BGP", Prefix: r.Prefix})
		}
		s.Routes = len(claims)
		return s, claims, nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		manifests, err := readManifests(nil, []string{name})
		if err != nil {
			return s, nil, err
		}
		claims, err := s.manifests(manifests)
		return s, claims, err
	}
	var text []byte
	var err error
	if name == "-" {
		s.Source = "stdin"
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return s, nil, fmt.Errorf("read the datacenter's networks: %w", err)
	}
	if err := isText(text, s.Source); err != nil {
		return s, nil, err
	}
	var claims []ipam.Claim
	if manifest.Match(text) {
		claims, err = s.manifests(map[string][]byte{s.Source: text})
	} else {
		claims, err = s.table(string(text))
	}
	return s, claims, err
}

func (s *cidrSource) manifests(manifests map[string][]byte) ([]ipam.Claim, error) {
	good, err := goodManifests(manifests)
	if err != nil {
		return nil, err
	}
	claims := s.cluster(&cluster{nodes: good.Nodes, datacenters: good.Datacenters})
	if len(claims) == 0 {
		return nil, fmt.Errorf("%s: the manifests have no DatacenterNetwork and no Node", s.Source)
	}
	return claims, nil
}

// table reads a routing table or a list of networks.
func (s *cidrSource) table(text string) ([]ipam.Claim, error) {
	table, err := export.ReadTable(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Source, err)
	}
	kind, seen := ipam.Route, map[netip.Prefix]bool{}
	if table.List {
		kind = ipam.Network
	}
	var claims []ipam.Claim
	for _, r := range table.Routes {
		if !seen[r.Prefix] {
			seen[r.Prefix] = true
			claims = append(claims, ipam.Claim{Kind: kind, Name: s.Source + ":" + strconv.Itoa(r.Line), Prefix: r.Prefix})
		}
	}
	s.Unread = list(table.Unread)
	if table.List {
		s.Networks = len(claims)
	} else {
		s.Routes = len(claims)
	}
	if len(claims)+len(s.Unread) == 0 {
		return nil, fmt.Errorf("%s has no route in it: want a list of prefixes, a router's routing table, or manifests", s.Source)
	}
	return claims, nil
}
