package controller

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/dial"
	"github.com/waymark-bgp/waymark/registry/nacos"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

const (
	readTime      = time.Minute
	answerTime    = 10 * time.Second // of a registry, to each question
	mostProviders = 50_000           // of one check: the controller is to live
	mostSights    = 50               // of a check, and of a node
	podsPage      = 500
	defaultAdmin  = 8080
	defaultDials  = 50
	defaultWait   = 3 * time.Second
)

// limited is a source that ends when it has too many providers.
type limited struct{ registry.Source }

// Providers implements registry.Source.
func (l limited) Providers(ctx context.Context, each func(registry.Provider, error) error) error {
	n := 0
	return l.Source.Providers(ctx, func(p registry.Provider, err error) error {
		if n++; n > mostProviders {
			return fmt.Errorf("there are more than %d entries: the rest is not looked at", mostProviders)
		}
		return each(p, err)
	})
}

// access is what a registry lets us in by.
type access struct {
	auth registry.Secret
	tls  *tls.Config
	ca   string // in PEM; empty: what the host trusts
}

// run asks, gathers, dials and judges, in this order: a pod that came meanwhile is known.
func (r *registryRuns) run(ctx context.Context, c *v1alpha1.RegistryCheck) *registryFound {
	found := &registryFound{check: c.UID, generation: c.Generation}
	defer func() { found.ended = time.Now() }()
	way, err := r.access(ctx, servers(&c.Spec.Registry))
	if err != nil {
		found.err = err
		return found
	}
	found.hidden = way.auth

	if err := take(ctx, r.reading); err != nil {
		found.err = err
		return found
	}
	entries, unread := readRegistry(ctx, c, way)
	var asked []registry.Server
	var failed map[string]error
	if z := c.Spec.Registry.ZooKeeper; z != nil {
		asker := zookeeper.Asker{Timeout: timeout(c), AdminPort: adminPort(z), TLS: way.tls}
		asked, failed = asker.AskEnsemble(ctx, z.Servers)
	}
	<-r.reading
	found.err = unread

	where, pods, err := r.gather(ctx, c.Spec.FromPods)
	if err != nil {
		found.err = errors.Join(unread, err)
		return found
	}
	cluster := where.Cluster(time.Now())
	cluster.Bridges = dial.Bridges()
	if err := take(ctx, r.dialing); err != nil {
		found.err = err
		return found
	}
	survey := registry.Survey{Dialer: dial.Dialer{Connect: (&net.Dialer{KeepAlive: -1, Control: dial.NotHere}).DialContext}, Dials: defaultDials, Timeout: timeout(c)}
	if c.Spec.Dials != nil {
		survey.Dials = int(*c.Spec.Dials)
	}
	answers := survey.Run(ctx, registry.Targets(cluster, entries.Providers))
	<-r.dialing
	if err := ctx.Err(); err != nil {
		found.err = fmt.Errorf("the run was not done in time: %w", err)
		return found
	}
	found.providers(cluster, entries, registry.Judge(cluster, entries.Providers, answers), announces(where))
	found.connections(cluster, asked, failed)
	found.requests = requests(c, pods, way)
	found.keep(cluster)
	return found
}

// take waits for one's turn.
func take(ctx context.Context, turns chan struct{}) error {
	select {
	case turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other checks: %w", ctx.Err())
	}
}

func servers(r *v1alpha1.Registry) *v1alpha1.RegistryServers {
	if r.ZooKeeper != nil {
		return &r.ZooKeeper.RegistryServers
	}
	return &r.Nacos.RegistryServers
}

func timeout(c *v1alpha1.RegistryCheck) time.Duration {
	if c.Spec.Timeout == nil {
		return defaultWait
	}
	return c.Spec.Timeout.Duration
}

func adminPort(z *v1alpha1.ZooKeeperRegistry) uint16 {
	if z.AdminPort == nil {
		return defaultAdmin
	}
	return uint16(*z.AdminPort)
}

// readRegistry reads the providers of the protocols that are looked at.
func readRegistry(ctx context.Context, c *v1alpha1.RegistryCheck, way *access) (registry.Entries, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	var source registry.Source
	if z := c.Spec.Registry.ZooKeeper; z != nil {
		source = &zookeeper.Registry{Name: "zookeeper", Servers: z.Servers, Chroot: z.Chroot, Group: z.Root, TLS: way.tls, Auth: way.auth, Timeout: answerTime}
	} else {
		n := c.Spec.Registry.Nacos
		source = &nacos.Registry{Name: "nacos", Servers: n.Servers, Namespace: n.Namespace, Group: n.Group, TLS: way.tls, Auth: way.auth, Timeout: answerTime}
	}
	entries, err := registry.Read(ctx, []registry.Source{limited{source}}, nil)
	if len(c.Spec.Protocols) > 0 {
		entries.Providers = slices.DeleteFunc(entries.Providers, func(p registry.Provider) bool { return !slices.Contains(c.Spec.Protocols, p.Protocol) })
	}
	return entries, err
}

// access reads the Secrets of a registry. Errors do not say what is in them.
func (r *registryRuns) access(ctx context.Context, s *v1alpha1.RegistryServers) (*access, error) {
	way := &access{}
	if k := s.AuthSecret; k != nil {
		var secret corev1.Secret
		if err := r.direct.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: k.Name}, &secret); err != nil {
			return nil, fmt.Errorf("user and password of the registry: %w", err)
		}
		line := strings.TrimRight(string(secret.Data[k.Key]), "\r\n")
		if user, password, ok := strings.Cut(line, ":"); !ok || user == "" || password == "" || strings.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf("key %s of Secret %s/%s is not USER:PASSWORD", k.Key, k.Namespace, k.Name)
		}
		way.auth = registry.NewSecret(line)
	}
	if s.TLS == nil {
		return way, nil
	}
	way.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.TLS.ServerName}
	if s.TLS.Secret == nil {
		return way, nil
	}
	name := client.ObjectKey{Namespace: s.TLS.Secret.Namespace, Name: s.TLS.Secret.Name}
	var secret corev1.Secret
	if err := r.direct.Get(ctx, name, &secret); err != nil {
		return nil, fmt.Errorf("certificates of the registry: %w", err)
	}
	if ca := secret.Data["ca.crt"]; len(ca) > 0 {
		way.ca, way.tls.RootCAs = string(ca), x509.NewCertPool()
		if !way.tls.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("ca.crt of Secret %s has no certificate in PEM", name)
		}
	}
	if len(secret.Data[corev1.TLSCertKey])+len(secret.Data[corev1.TLSPrivateKeyKey]) > 0 {
		pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			return nil, fmt.Errorf("tls.crt and tls.key of Secret %s: %w", name, err)
		}
		way.tls.Certificates = []tls.Certificate{pair}
	}
	return way, nil
}

// gather collects what is known of addresses, and the pods to look from.
func (r *registryRuns) gather(ctx context.Context, from []v1alpha1.FromPod) (*agent.Whereabouts, []lookout, error) {
	var nodes corev1.NodeList
	var services corev1.ServiceList
	var states v1alpha1.NodeRoutingStateList
	var configurations v1alpha1.BGPConfigurationList
	var policies v1alpha1.EgressPolicyList
	var networks v1alpha1.DatacenterNetworkList
	for _, list := range []client.ObjectList{&nodes, &services, &states, &configurations, &policies, &networks} {
		if err := r.cached.List(ctx, list, asCached); err != nil {
			return nil, nil, err
		}
	}
	where := &agent.Whereabouts{
		Nodes: nodes.Items, States: map[string]*v1alpha1.NodeRoutingState{}, Configurations: configurations.Items, Policies: policies.Items,
		Datacenters: networks.Items, Pods: map[netip.Addr]string{}, Services: append([]corev1.Service{}, services.Items...),
	}
	for i := range states.Items {
		where.States[states.Items[i].Name] = &states.Items[i]
	}
	var chosen []lookout
	for page := ""; ; {
		var pods corev1.PodList
		if err := r.direct.List(ctx, &pods, client.Limit(podsPage), client.Continue(page)); err != nil {
			return nil, nil, fmt.Errorf("list pods: %w", err)
		}
		for i := range pods.Items {
			agent.NotePod(where.Pods, &pods.Items[i])
			chosen = append(chosen, lookouts(from, &pods.Items[i])...)
		}
		if page = pods.Continue; page == "" {
			return where, chosen, nil
		}
	}
}

// lookout is a pod that an entry of fromPods selects.
type lookout struct {
	entry     int
	node, pod string
	addresses []string
}

func lookouts(from []v1alpha1.FromPod, p *corev1.Pod) []lookout {
	if p.Status.Phase != corev1.PodRunning || p.Spec.HostNetwork || p.DeletionTimestamp != nil || len(p.Status.PodIPs) == 0 {
		return nil
	}
	var list []lookout
	for i := range from {
		if selects(&from[i], p) {
			l := lookout{entry: i, node: p.Spec.NodeName, pod: p.Namespace + "/" + p.Name}
			for _, ip := range p.Status.PodIPs {
				l.addresses = append(l.addresses, ip.IP)
			}
			list = append(list, l)
		}
	}
	return list
}

func selects(f *v1alpha1.FromPod, p *corev1.Pod) bool {
	if f.Namespace != p.Namespace || f.Selector == nil {
		return f.Namespace == p.Namespace && f.Name == p.Name
	}
	selector, err := metav1.LabelSelectorAsSelector(f.Selector)
	return err == nil && selector.Matches(labels.Set(p.Labels))
}

// requests are what is asked of agents, by node: of each selector one pod of a node.
func requests(c *v1alpha1.RegistryCheck, pods []lookout, way *access) map[string][]v1alpha1.SightRequest {
	byNode := map[string][]v1alpha1.SightRequest{}
	z := c.Spec.Registry.ZooKeeper
	if z == nil {
		return byNode
	}
	slices.SortFunc(pods, func(a, b lookout) int {
		return cmp.Or(a.entry-b.entry, strings.Compare(a.pod, b.pod))
	})
	type turn struct {
		entry int
		node  string
	}
	served, taken := map[turn]bool{}, map[string]bool{}
	for _, p := range pods {
		if len(taken) == mostSights || served[turn{p.entry, p.node}] || taken[p.pod] {
			continue
		}
		served[turn{p.entry, p.node}], taken[p.pod] = true, true
		request := v1alpha1.SightRequest{
			Check: c.Name, Pod: p.pod, Addresses: p.addresses, Servers: z.Servers, AdminPort: int32(adminPort(z)), CA: way.ca,
			Timeout: metav1.Duration{Duration: timeout(c)}, Interval: metav1.Duration{Duration: registryInterval(c)},
		}
		if z.TLS != nil {
			request.TLS, request.ServerName = true, z.TLS.ServerName
		}
		byNode[p.node] = append(byNode[p.node], request)
	}
	return byNode
}

// announces says whether pods are to be reached by what nodes announce.
func announces(w *agent.Whereabouts) bool {
	return slices.ContainsFunc(w.Configurations, func(c v1alpha1.BGPConfiguration) bool {
		return c.Name == v1alpha1.DefaultName && (c.Spec.Advertise.PodCIDRs == nil || *c.Spec.Advertise.PodCIDRs)
	})
}
