package kube

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// watchTime is how long a watch request lasts at least, and up to twice that. Ten of them are then less than one request a
// minute, with 5,000 nodes 80 a second for the API server. A connection that has died is found by HTTP/2 pings within 45 s.
const watchTime = 10 * time.Minute

// patient is how requests are tried again: after 10 to 20 s at last. Of 5,000 nodes that are 3,000 attempts a second to
// connect, and when the API server is back, all are there within 20 s.
var patient = wait.Backoff{Duration: 500 * time.Millisecond, Cap: 10 * time.Second, Steps: 10, Factor: 2, Jitter: 1}

// request is what is asked of the API server: to list some objects and to watch them from there.
type request struct {
	kind            string
	namespace, name string // empty: all
	node            string // the one that the objects, pods, are on; empty: any
}

func (r request) String() string {
	switch {
	case r.namespace != "":
		return r.kind + "/" + r.namespace + "/" + r.name
	case r.name != "":
		return r.kind + "/" + r.name
	}
	return r.kind
}

func (r request) compare(other request) int {
	return cmp.Or(cmp.Compare(r.kind, other.kind), cmp.Compare(r.namespace, other.namespace), cmp.Compare(r.name, other.name))
}

func (r request) selector() string {
	selector := fields.Set{}
	if r.name != "" {
		selector["metadata.name"] = r.name
	}
	if r.node != "" {
		selector["spec.nodeName"] = r.node
	}
	return selector.String()
}

// kinds that can be asked for: the name in the API, and what the objects are.
var kinds = map[string]struct {
	resource string
	example  runtime.Object
}{
	"AddressPool":       {"addresspools", &v1alpha1.AddressPool{}},
	"BGPConfiguration":  {"bgpconfigurations", &v1alpha1.BGPConfiguration{}},
	"BGPPeer":           {"bgppeers", &v1alpha1.BGPPeer{}},
	"DatacenterNetwork": {"datacenternetworks", &v1alpha1.DatacenterNetwork{}},
	"EgressPolicy":      {"egresspolicies", &v1alpha1.EgressPolicy{}},
	"Namespace":         {"namespaces", &corev1.Namespace{}},
	"Node":              {"nodes", &corev1.Node{}},
	"NodeRoutingState":  {"noderoutingstates", &v1alpha1.NodeRoutingState{}},
	"Pod":               {"pods", &corev1.Pod{}},
	"Secret":            {"secrets", &corev1.Secret{}},
}

// list holds the objects of one request, trimmed. It is the store that a reflector fills.
type list struct {
	request
	changed func()
	stop    context.CancelFunc

	mu     sync.Mutex
	synced bool
	good   map[string]metav1.Object // by namespace and name
	bad    map[string][]agent.Problem
}

// run lists and watches until ctx ends. What becomes of the requests, heard is told.
func (l *list) run(ctx context.Context, c *Client, heard func(request, error)) {
	kind := kinds[l.kind]
	var client rest.Interface = c.core
	if _, own := kind.example.(v1alpha1.Object); own {
		client = c.own
	}
	requests := cache.NewFilteredListWatchFromClient(client, kind.resource, l.namespace,
		func(o *metav1.ListOptions) { o.FieldSelector = l.selector() })
	told := func(err error) {
		if ctx.Err() == nil {
			heard(l.request, err)
		}
	}
	backoff := patient
	silent := klog.Logger{} // an error is heard of once, not once from each reflector each time
	reflector := cache.NewReflectorWithOptions(listFirst{&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			objects, err := requests.ListWithContext(ctx, o)
			told(err)
			return objects, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			events, err := requests.WatchWithContext(ctx, o)
			told(err)
			return events, err
		},
	}}, kind.example, l, cache.ReflectorOptions{Name: l.String(), Logger: &silent, MinWatchTimeout: watchTime, Backoff: &backoff})
	reflector.RunWithContext(klog.NewContext(ctx, silent))
}

// listFirst has the reflector list and then watch. A watch that begins with a list asks etcd: it takes a second to be complete,
// needs etcd to live, and goes on waiting when the agent is to end (client-go v0.36).
type listFirst struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is asked by package watchlist of client-go.
func (listFirst) IsWatchListSemanticsUnSupported() bool { return true }

// contents are the good objects in the order of their names, and what is wrong with the others.
func (l *list) contents() (objects []metav1.Object, problems []agent.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.good)) {
		objects = append(objects, l.good[key])
	}
	for _, key := range slices.Sorted(maps.Keys(l.bad)) {
		problems = append(problems, l.bad[key]...)
	}
	return objects, problems
}

func (l *list) isSynced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}

// Add, Update, Delete, Replace and Resync are what the reflector asks of a store.

func (l *list) Add(object any) error { return l.Update(object) }

func (l *list) Update(object any) error {
	l.mu.Lock()
	changed := l.put(object)
	l.mu.Unlock()
	if changed {
		l.changed()
	}
	return nil
}

func (l *list) Delete(object any) error {
	m, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.good, key(m))
	delete(l.bad, key(m))
	l.mu.Unlock()
	l.changed()
	return nil
}

func (l *list) Replace(objects []any, _ string) error {
	there := map[string]bool{}
	for _, object := range objects {
		m, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		there[key(m)] = true
	}
	l.mu.Lock()
	before := len(l.good) + len(l.bad)
	maps.DeleteFunc(l.good, func(key string, _ metav1.Object) bool { return !there[key] })
	maps.DeleteFunc(l.bad, func(key string, _ []agent.Problem) bool { return !there[key] })
	changed := !l.synced || len(l.good)+len(l.bad) < before
	l.synced = true
	for _, object := range objects {
		changed = l.put(object) || changed
	}
	l.mu.Unlock()
	if changed {
		l.changed()
	}
	return nil
}

func (l *list) Resync() error { return nil }

// put takes an object in, and says whether that changes anything. One that is not good keeps the version that was good last.
func (l *list) put(object any) bool {
	o, faults := trim(object)
	key := key(o)
	var problems []agent.Problem
	for _, fault := range faults {
		problems = append(problems, agent.Problem{Object: l.kind + "/" + key, Reason: "Invalid", Message: fault.Error()})
	}
	changed := !reflect.DeepEqual(l.bad[key], problems)
	if len(problems) > 0 {
		l.bad[key] = problems
		return changed
	}
	delete(l.bad, key)
	changed = changed || !reflect.DeepEqual(l.good[key], o)
	l.good[key] = o
	return changed
}

func key(o metav1.Object) string {
	if o.GetNamespace() == "" {
		return o.GetName()
	}
	return o.GetNamespace() + "/" + o.GetName()
}
