package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/registry"
)

// facts is where a check of addresses learns whose they are.
type facts struct {
	access
	files   []string
	offline bool
}

func (f *facts) flags(cmd *cobra.Command) { f.flagsWith(cmd, "from") }

// flagsWith is for a command to which "from" means something else.
func (f *facts) flagsWith(cmd *cobra.Command, files string) {
	f.access.flags(cmd)
	cmd.Flags().StringArrayVar(&f.files, files, nil, "`file` or directory of objects in place of the cluster, or - for standard input; may be repeated")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "ask no cluster: judge by the addresses themselves, and by dialling")
}

// read returns what is known, and notes of what is not.
func (f *facts) read(ctx context.Context, stdin io.Reader) (registry.Cluster, []string, error) {
	bridges := bridgesHere()
	if f.offline {
		return registry.Cluster{Bridges: bridges}, []string{"no cluster was asked: whose an address is, and who announces it, is not known"}, nil
	}
	var o clusterObjects
	var notes []string
	var err error
	now := time.Now()
	if len(f.files) > 0 {
		notes, err = o.readFiles(stdin, f.files)
		now = o.reported()
	} else {
		notes, err = o.ask(ctx, &f.access)
	}
	if err != nil {
		return registry.Cluster{}, nil, err
	}
	c := o.registryCluster(now)
	c.Bridges = bridges
	return c, notes, nil
}

// clusterObjects are what says whose an address is.
type clusterObjects struct {
	cluster
	pods     []corev1.Pod     // nil: not known
	services []corev1.Service // nil: not known
}

func (o *clusterObjects) ask(ctx context.Context, from *access) (notes []string, err error) {
	r, err := from.open()
	if err != nil {
		return nil, fmt.Errorf("%w, or --from FILE, or --offline", err)
	}
	c, err := r.cluster(ctx)
	if err != nil {
		return nil, err
	}
	o.cluster = *c
	pods, _, err := r.pods(ctx, "")
	switch {
	case apierrors.IsForbidden(err):
		notes = append(notes, "this user may not list Pods: whose an address is, and whether the pod is still there, is not known")
	case err != nil:
		return nil, err
	default:
		o.pods = []corev1.Pod{}
		for _, of := range pods {
			o.pods = append(o.pods, of...)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var services corev1.ServiceList
	text, err := r.core.Get().Resource("services").Do(ctx).Raw()
	switch {
	case apierrors.IsForbidden(err):
		return append(notes, "this user may not list Services: their addresses are not known as such"), nil
	case err != nil:
		return nil, fmt.Errorf("list services: %w", err)
	}
	if err := json.Unmarshal(text, &services); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	o.services = append([]corev1.Service{}, services.Items...)
	return notes, nil
}

// readFiles takes what it knows of files as kubectl writes them. They may be of another day: nothing is asked of them but that
// they can be read.
func (o *clusterObjects) readFiles(stdin io.Reader, paths []string) (notes []string, err error) {
	manifests, err := readManifests(stdin, paths)
	if err != nil {
		return nil, err
	}
	o.states = map[string]*v1alpha1.NodeRoutingState{}
	for name, text := range manifests {
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			var raw json.RawMessage
			err := decoder.Decode(&raw)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil && len(raw) > 0 {
				err = o.add(raw)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for kind, missing := range map[string]bool{
		"no Nodes: who announces an address is not known":                                len(o.nodes) == 0,
		"no Pods: whose an address is, and whether the pod is still there, is not known": o.pods == nil,
		"no Services: their addresses are not known as such":                             o.services == nil,
		"no NodeRoutingStates: what nodes announce is not known":                         len(o.states) == 0,
	} {
		if missing {
			notes = append(notes, "the files have "+kind)
		}
	}
	slices.Sort(notes)
	return notes, nil
}

// reported is when the last node did: files are of that time.
func (o *clusterObjects) reported() (last time.Time) {
	for _, s := range o.states {
		if t := s.Status.Reported.Time; t.After(last) {
			last = t
		}
	}
	return last
}

func (o *clusterObjects) add(raw json.RawMessage) error {
	var head struct {
		Kind     string `json:"kind"`
		Metadata struct{ Name string }
		Items    []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return err
	}
	if strings.HasSuffix(head.Kind, "List") {
		for _, item := range head.Items {
			if err := o.add(item); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	switch head.Kind {
	case "Node":
		o.nodes, err = appended(o.nodes, raw)
	case "Pod":
		o.pods, err = appended(o.pods, raw)
	case "Service":
		o.services, err = appended(o.services, raw)
	case "BGPConfiguration":
		o.configurations, err = appended(o.configurations, raw)
	case "DatacenterNetwork":
		o.datacenters, err = appended(o.datacenters, raw)
	case "EgressPolicy":
		o.policies, err = appended(o.policies, raw)
	case "NodeRoutingState":
		state := &v1alpha1.NodeRoutingState{}
		if err = json.Unmarshal(raw, state); err == nil {
			o.states[state.Name] = state
		}
	}
	if err != nil {
		return fmt.Errorf("%s/%s: %w", head.Kind, head.Metadata.Name, err)
	}
	return nil
}

func appended[T any](list []T, raw json.RawMessage) ([]T, error) {
	var object T
	err := json.Unmarshal(raw, &object)
	return append(list, object), err
}

func (o *clusterObjects) registryCluster(now time.Time) registry.Cluster {
	c := registry.Cluster{Egress: map[netip.Addr]string{}}
	for i := range o.nodes {
		c.Nodes = append(c.Nodes, o.registryNode(now, &o.nodes[i]))
	}
	if o.pods != nil {
		c.Pods = map[netip.Addr]string{}
	}
	for i := range o.pods {
		p := &o.pods[i]
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue // the address is the node's, or has been given back
		}
		for _, ip := range p.Status.PodIPs {
			note(c.Pods, ip.IP, p.Namespace+"/"+p.Name)
		}
	}
	if o.services != nil {
		c.Services = map[netip.Addr]string{}
	}
	for i := range o.services {
		s := &o.services[i]
		for _, ip := range slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs) {
			note(c.Services, ip, s.Namespace+"/"+s.Name)
		}
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			note(c.Services, ingress.IP, s.Namespace+"/"+s.Name)
		}
	}
	for i := range o.policies {
		for _, a := range o.policies[i].Status.Addresses {
			note(c.Egress, a.Address, "EgressPolicy "+o.policies[i].Name)
		}
	}
	for i := range o.datacenters {
		c.Datacenter = append(c.Datacenter, prefixes(o.datacenters[i].Spec.CIDRs)...)
		c.PodCIDRs = append(c.PodCIDRs, prefixes(o.datacenters[i].Spec.ClusterCIDRs)...)
	}
	return c
}

func note(into map[netip.Addr]string, address, whose string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		into[addr.Unmap()] = whose
	}
}

func (o *clusterObjects) registryNode(now time.Time, node *corev1.Node) registry.Node {
	state := o.states[node.Name]
	n := registry.Node{Name: node.Name, PodCIDRs: prefixes(podCIDRs(node)), Unknown: stale(now, node, state)}
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			n.Addresses = append(n.Addresses, addr.Unmap())
		}
	}
	if n.Unknown != "" {
		return n
	}
	n.Announced, n.Learned = prefixes(state.Status.Announced), int(state.Status.LearnedCount)
	if cidrs := podCIDRs(node); len(cidrs) > 0 {
		n.Withheld = unannounced(o.switchedOff(), state, cidrs[0])
	}
	for _, s := range state.Status.Sessions {
		n.Sessions = append(n.Sessions, registry.Session{Peer: s.Peer, Up: (sessionView{State: s.State}).up(), Why: s.State + because(s.LastError)})
	}
	return n
}

// switchedOff says that nodes are not to announce their PodCIDRs, if so.
func (o *clusterObjects) switchedOff() string {
	for i := range o.configurations {
		if c := &o.configurations[i]; c.Name == v1alpha1.DefaultName && isFalse(c.Spec.Advertise.PodCIDRs) {
			return "BGPConfiguration " + c.Name + " has advertise.podCIDRs: false"
		}
	}
	return ""
}

// prefixes are the good ones of a list: the bad ones are told of elsewhere.
func prefixes(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			list = append(list, p.Masked())
		}
	}
	return list
}

// bridgeNames begin the names of devices that containers are behind. Those of CNI plugins are not among them: PodCIDRs say more.
var bridgeNames = []string{"docker", "br-", "podman", "cni-podman", "nerdctl", "virbr", "lxcbr", "lxdbr"}

// bridgesHere are networks of containers on this host: what answers there is nobody that other hosts reach.
func bridgesHere() []registry.Bridge {
	var list []registry.Bridge
	devices, _ := net.Interfaces() // without them less is known
	for _, d := range devices {
		if !slices.ContainsFunc(bridgeNames, func(begin string) bool { return strings.HasPrefix(d.Name, begin) }) {
			continue
		}
		addresses, _ := d.Addrs()
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				list = append(list, registry.Bridge{Prefix: p.Masked(), Name: d.Name, Seen: true})
			}
		}
	}
	return list
}
