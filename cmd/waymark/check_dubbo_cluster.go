package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/dial"
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
	bridges := dial.Bridges()
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
	w := agent.Whereabouts{
		Nodes: o.nodes, States: o.states, Configurations: o.configurations, Policies: o.policies, Datacenters: o.datacenters,
		Services: o.services,
	}
	if o.pods != nil {
		w.Pods = map[netip.Addr]string{}
	}
	for i := range o.pods {
		agent.NotePod(w.Pods, &o.pods[i])
	}
	return w.Cluster(now)
}
