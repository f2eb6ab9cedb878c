package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/apiserver"
	"github.com/waymark-bgp/waymark/internal/version"
)

const (
	askTime  = time.Minute // for all requests of a command
	podsPage = 500         // pods of one request: there may be a hundred thousand
)

// access is how a command finds its cluster, as kubectl does.
type access struct{ kubeconfig, context string }

func (a *access) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: $KUBECONFIG or ~/.kube/config")
	cmd.Flags().StringVar(&a.context, "context", "", "`name` of the context of the kubeconfig")
}

// cluster is what the API server has.
type cluster struct {
	nodes          []corev1.Node
	states         map[string]*v1alpha1.NodeRoutingState // by node
	configurations []v1alpha1.BGPConfiguration
	peers          []v1alpha1.BGPPeer
	policies       []v1alpha1.EgressPolicy
	pools          []v1alpha1.AddressPool
	datacenters    []v1alpha1.DatacenterNetwork
	roles          []v1alpha1.NodeRole
	exports        []v1alpha1.StaticRouteExport
	registries     []v1alpha1.RegistryCheck
}

func (c *cluster) node(name string) (*corev1.Node, error) {
	i := slices.IndexFunc(c.nodes, func(n corev1.Node) bool { return n.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no Node %q", name)
	}
	return &c.nodes[i], nil
}

// reader asks one API server.
type reader struct{ core, own rest.Interface }

func (a *access) open() (*reader, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: a.context}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("no cluster to ask: there is no kubeconfig; set --kubeconfig or $KUBECONFIG")
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	core, own, err := apiserver.Clients(config, "waymark/"+version.String())
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &reader{core, own}, nil
}

// read opens the cluster and reads everything but pods.
func (a *access) read(ctx context.Context) (*cluster, error) {
	r, err := a.open()
	if err != nil {
		return nil, err
	}
	return r.cluster(ctx)
}

func (r *reader) cluster(ctx context.Context) (*cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var (
		nodes          corev1.NodeList
		states         v1alpha1.NodeRoutingStateList
		configurations v1alpha1.BGPConfigurationList
		peers          v1alpha1.BGPPeerList
		policies       v1alpha1.EgressPolicyList
		pools          v1alpha1.AddressPoolList
		datacenters    v1alpha1.DatacenterNetworkList
		roles          v1alpha1.NodeRoleList
		exports        v1alpha1.StaticRouteExportList
		registries     v1alpha1.RegistryCheckList
	)
	for _, kind := range []struct {
		resource string
		into     runtime.Object
	}{
		{"bgpconfigurations", &configurations}, {"bgppeers", &peers}, {"egresspolicies", &policies}, {"addresspools", &pools},
		{"datacenternetworks", &datacenters}, {"noderoles", &roles}, {"staticrouteexports", &exports}, {"registrychecks", &registries}, {"noderoutingstates", &states},
	} {
		err := r.own.Get().Resource(kind.resource).Do(ctx).Into(kind.into)
		switch {
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("%s: Waymark is not installed on this cluster: there is no %s.%s", r.own.Get().URL().Host, kind.resource, v1alpha1.Group)
		case err != nil:
			return nil, fmt.Errorf("list %s: %w", kind.resource, err)
		}
	}
	if err := r.core.Get().Resource("nodes").Do(ctx).Into(&nodes); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	c := &cluster{
		nodes: nodes.Items, states: map[string]*v1alpha1.NodeRoutingState{}, configurations: configurations.Items, peers: peers.Items,
		policies: policies.Items, pools: pools.Items, datacenters: datacenters.Items, roles: roles.Items, exports: exports.Items, registries: registries.Items,
	}
	for i := range states.Items {
		c.states[states.Items[i].Name] = &states.Items[i]
	}
	return c, nil
}

// pods of a node, or with "" of each, by the node's name, and all namespaces.
func (r *reader) pods(ctx context.Context, node string) (map[string][]corev1.Pod, []corev1.Namespace, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	byNode := map[string][]corev1.Pod{}
	request := func(page string) *rest.Request {
		q := r.core.Get().Resource("pods").Param("limit", fmt.Sprint(podsPage)).Param("continue", page)
		if node != "" {
			q = q.Param("fieldSelector", "spec.nodeName="+node)
		}
		return q
	}
	for page := ""; ; {
		var pods corev1.PodList
		if err := request(page).Do(ctx).Into(&pods); err != nil {
			return nil, nil, fmt.Errorf("list pods, which a policy selects: %w", err)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			byNode[p.Spec.NodeName] = append(byNode[p.Spec.NodeName], corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, Labels: p.Labels, DeletionTimestamp: p.DeletionTimestamp},
				Spec:       corev1.PodSpec{HostNetwork: p.Spec.HostNetwork},
				Status:     corev1.PodStatus{Phase: p.Status.Phase, PodIPs: p.Status.PodIPs},
			})
		}
		if page = pods.Continue; page == "" {
			break
		}
	}
	var namespaces corev1.NamespaceList
	if err := r.core.Get().Resource("namespaces").Do(ctx).Into(&namespaces); err != nil {
		return nil, nil, fmt.Errorf("list namespaces, which a policy selects: %w", err)
	}
	return byNode, namespaces.Items, nil
}
