package controller

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/registry"
)

const (
	shownClients = 20 // of a status
	mostSeries   = 50 // of a check in waymark_registry_connections
)

// registryFound is what a run has found, cut to what is reported.
type registryFound struct {
	check      types.UID
	generation int64
	ended      time.Time
	err        error           // why not all could be read
	hidden     registry.Secret // is told to nobody

	counts      []v1alpha1.ProviderCount
	reached     int
	missed      int
	worst       string // of what is not reached
	reason      registry.Reason
	others      []v1alpha1.RegistryFinding // of providers and entries
	otherCount  int
	asked       bool // as whom the registry sees clients
	unasked     string
	clients     []v1alpha1.RegistryConnections // nearest to the limit
	near        []registry.Client
	limits      map[string]int // by server
	masked      []registry.Client
	podsSeen    int
	requests    map[string][]v1alpha1.SightRequest // by node
	cluster     registry.Cluster                   // what judges the answers: nodes and egress addresses
	sideFinding []v1alpha1.RegistryFinding         // of servers
}

// of says that it is about a check as it is now.
func (f *registryFound) of(c *v1alpha1.RegistryCheck) bool {
	return f.check == c.UID && f.generation == c.Generation
}

// say is a text that may be shown.
func (f *registryFound) say(text string) string {
	if secret := f.hidden.Reveal(); secret != "" {
		_, password, _ := strings.Cut(secret, ":")
		text = strings.ReplaceAll(strings.ReplaceAll(text, secret, "***"), password, "***")
	}
	return short(strings.ToValidUTF8(text, "?"))
}

func (f *registryFound) finding(reason registry.Reason, message, address string, providers int) v1alpha1.RegistryFinding {
	return v1alpha1.RegistryFinding{Reason: string(reason), Message: f.say(message), Address: f.say(address), Providers: int32(providers)}
}

// providers counts, and keeps the worst: what is not reached by most providers first. With announced pods an address that no
// node announces is not reached from outside, though it is from here.
func (f *registryFound) providers(cluster registry.Cluster, entries registry.Entries, endpoints []registry.Endpoint, announced bool) {
	withheld := map[string][]registry.Finding{} // by prefix
	type miss struct {
		endpoint *registry.Endpoint
		reached  bool
		registry.Finding
	}
	var odd []miss
	counts := map[registry.Class]*v1alpha1.ProviderCount{}
	for i := range endpoints {
		e := &endpoints[i]
		reached := e.Reachable()
		if reached && announced && e.Prefix != "" && len(e.Announced) == 0 {
			if _, known := withheld[e.Prefix]; !known {
				withheld[e.Prefix] = nil
				if addr, err := netip.ParseAddr(e.Host); err == nil {
					if back, bad := cluster.WayBack(addr); bad {
						withheld[e.Prefix] = []registry.Finding{back}
					}
				}
			}
			e.Findings = append(slices.Clone(withheld[e.Prefix]), e.Findings...)
			reached = len(withheld[e.Prefix]) == 0
		}
		count := counts[e.Class]
		if count == nil {
			count = &v1alpha1.ProviderCount{Class: string(e.Class)}
			counts[e.Class] = count
		}
		count.Addresses++
		if reached {
			count.Reachable += int32(len(e.Providers))
			f.reached += len(e.Providers)
		} else {
			count.Unreachable += int32(len(e.Providers))
			f.missed += len(e.Providers)
		}
		for _, found := range e.Findings {
			odd = append(odd, miss{e, reached, found})
		}
	}
	for _, count := range counts {
		f.counts = append(f.counts, *count)
	}
	slices.SortFunc(f.counts, func(a, b v1alpha1.ProviderCount) int { return strings.Compare(a.Class, b.Class) })
	rank := func(m miss) int {
		if m.reached {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(odd, func(a, b miss) int {
		return cmp.Or(rank(a)-rank(b), len(b.endpoint.Providers)-len(a.endpoint.Providers))
	})
	if len(odd) > 0 && !odd[0].reached {
		f.reason, f.worst = odd[0].Reason, f.say(odd[0].endpoint.Address()+": "+odd[0].Message)
	}
	f.otherCount = len(odd) + len(entries.Bad)
	for _, m := range odd[:min(len(odd), shownLines)] {
		f.others = append(f.others, f.finding(m.Reason, m.Message, m.endpoint.Address(), len(m.endpoint.Providers)))
	}
	for _, b := range entries.Bad[:min(len(entries.Bad), shownLines-len(f.others))] {
		f.others = append(f.others, f.finding(registry.BadEntry, b.Message, "", 0))
	}
}

// connections keeps who is near the limit, and who is seen in place of pods.
func (f *registryFound) connections(cluster registry.Cluster, asked []registry.Server, failed map[string]error) {
	f.limits = map[string]int{}
	for i := range asked {
		s := &asked[i]
		if err := failed[s.Name]; err != nil {
			f.unasked = f.say(err.Error())
			f.sideFinding = append(f.sideFinding, f.finding(registry.NotAsked, err.Error(), s.Name, 0))
		}
		f.asked = f.asked || failed[s.Name] == nil || len(s.Connections) > 0
		if s.Limit > 0 {
			f.limits[s.Name] = s.Limit
		}
	}
	clients, _ := registry.JudgeConnections(cluster, asked)
	for i := range clients {
		c := &clients[i]
		if c.Class == registry.PodAddress && c.Sessions > 0 && c.Whose != "" {
			f.podsSeen++
		}
		for _, found := range c.Findings {
			if found.Reason == registry.Masqueraded {
				f.masked = append(f.masked, *c)
			} else {
				f.near = append(f.near, *c)
			}
		}
	}
	share := func(c registry.Client) float64 { return float64(c.Connections) / float64(max(c.Limit, 1)) }
	nearest := func(a, b registry.Client) int {
		return cmp.Or(cmp.Compare(share(b), share(a)), strings.Compare(a.Server, b.Server), a.Address.Compare(b.Address))
	}
	slices.SortFunc(clients, nearest)
	slices.SortFunc(f.near, nearest)
	for i := range clients[:min(len(clients), shownClients)] {
		c := &clients[i]
		f.clients = append(f.clients, v1alpha1.RegistryConnections{
			Server: c.Server, Address: c.Address.String(), Who: c.Who(), Connections: int32(c.Connections), Limit: int32(c.Limit),
		})
	}
}

// keep keeps of a cluster what the answers of agents are judged by, if they are asked.
func (f *registryFound) keep(cluster registry.Cluster) {
	if len(f.requests) == 0 {
		return
	}
	f.cluster.Egress = cluster.Egress
	for _, n := range cluster.Nodes {
		f.cluster.Nodes = append(f.cluster.Nodes, registry.Node{Name: n.Name, Addresses: n.Addresses, PodCIDRs: n.PodCIDRs})
	}
}

// looked is what the agents have answered.
type looked struct {
	sights []v1alpha1.PodSight
	own    map[string]bool // nodes, of which a pod is seen with its own address, and none with another
	wrong  []v1alpha1.PodSight
}

// sights are the answers to what was asked of agents. Answers that are three intervals old are none.
func (f *registryFound) sights(c *v1alpha1.RegistryCheck, states []v1alpha1.NodeRoutingState) looked {
	l := looked{own: map[string]bool{}}
	for i := range states {
		state := &states[i]
		for _, request := range f.requests[state.Name] {
			for _, server := range request.Servers {
				s := v1alpha1.PodSight{Node: state.Name, Pod: request.Pod, Server: server, Message: "the agent has not answered yet"}
				at := slices.IndexFunc(state.Status.Sights, func(r v1alpha1.SightReport) bool {
					return r.Check == c.Name && r.Pod == request.Pod && r.Server == server &&
						time.Since(r.Time.Time) < 3*request.Interval.Duration
				})
				if at >= 0 {
					f.judge(&s, &state.Status.Sights[at])
				}
				l.sights = append(l.sights, s)
			}
		}
	}
	for _, s := range l.sights {
		if s.Own && !slices.ContainsFunc(l.sights, func(t v1alpha1.PodSight) bool { return t.Node == s.Node && t.Seen != "" && !t.Own }) {
			l.own[s.Node] = true
		}
		if s.Seen != "" && !s.Own {
			l.wrong = append(l.wrong, s)
		}
	}
	worth := func(s v1alpha1.PodSight) int {
		switch {
		case s.Seen != "" && !s.Own:
			return 0
		case s.Seen == "":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(l.sights, func(a, b v1alpha1.PodSight) int {
		return cmp.Or(worth(a)-worth(b), strings.Compare(a.Node, b.Node), strings.Compare(a.Pod, b.Pod))
	})
	return l
}

func (f *registryFound) judge(s *v1alpha1.PodSight, r *v1alpha1.SightReport) {
	s.Address, s.Seen = r.Address, r.Seen
	own, err := netip.ParseAddr(r.Address)
	seen, errSeen := netip.ParseAddr(r.Seen)
	if err != nil || errSeen != nil {
		s.Seen, s.Message = "", f.say(r.Error)
		return
	}
	sight := registry.JudgeSight(f.cluster, r.Server, r.Pod, own, seen.Unmap())
	s.Own, s.Message = sight.OK, f.say(sight.Message)
}

// report writes everything into the status.
func (f *registryFound) report(c *v1alpha1.RegistryCheck, states []v1alpha1.NodeRoutingState) []notice {
	l := f.sights(c, states)
	masked := slices.DeleteFunc(slices.Clone(f.masked), func(m registry.Client) bool { return l.own[m.Node] })
	status := &c.Status
	status.LastRun = metav1.NewTime(f.ended.UTC().Truncate(time.Second))
	if f.err == nil {
		status.LastSuccess = status.LastRun
	}
	status.Providers, status.Connections = f.counts, f.clients
	status.FromPods = l.sights[:min(len(l.sights), mostSights)]
	nodes := map[string]bool{}
	status.Masquerading = nil
	for _, m := range masked {
		nodes[m.Node] = true
	}
	for _, s := range l.wrong {
		nodes[s.Node] = true
	}
	for name := range nodes {
		status.Masquerading = append(status.Masquerading, name)
	}
	slices.Sort(status.Masquerading)
	f.findings(status, masked, l.wrong)
	notices := slices.Concat(f.reachable(c), f.seen(c, masked, l), f.nearLimit(c))
	status.Masquerading = status.Masquerading[:min(len(status.Masquerading), shownLines)]
	return notices
}

// findings are the worst: what is proven, what will be refused, what is not reached.
func (f *registryFound) findings(status *v1alpha1.RegistryCheckStatus, masked []registry.Client, wrong []v1alpha1.PodSight) {
	var all []v1alpha1.RegistryFinding
	for _, s := range wrong {
		all = append(all, f.finding(registry.Masqueraded, s.Message, s.Server, 0))
	}
	told := map[string]bool{} // a client has all its findings in each of its copies
	for _, list := range [][]registry.Client{f.near, masked} {
		for i := range list {
			m := &list[i]
			for _, found := range m.Findings {
				proven := found.Reason == registry.Masqueraded && !slices.ContainsFunc(masked, func(k registry.Client) bool { return k.Node == m.Node })
				if key := m.Server + m.Address.String() + string(found.Reason); !proven && !told[key] {
					told[key] = true
					all = append(all, f.finding(found.Reason, found.Message, m.Address.String(), 0))
				}
			}
		}
	}
	all = append(all, f.sideFinding...)
	status.FindingCount = int32(len(all) + f.otherCount)
	all = append(all, f.others...)
	status.Findings = all[:min(len(all), shownLines)]
}

func (f *registryFound) reachable(c *v1alpha1.RegistryCheck) []notice {
	total := f.reached + f.missed
	status, reason, message := metav1.ConditionTrue, "Reached", fmt.Sprintf("%d providers are reached", f.reached)
	switch {
	case f.err != nil:
		status, reason, message = metav1.ConditionUnknown, "NotRead", f.err.Error()
	case total == 0:
		status, reason, message = metav1.ConditionUnknown, "NoProviders", "the registry has no providers: are chroot, root and namespace right?"
	case f.missed > 0:
		status, reason = metav1.ConditionFalse, cmp.Or(string(f.reason), string(registry.Unreachable))
		message = fmt.Sprintf("%d of %d providers are not reached: %s", f.missed, total, f.worst)
	}
	return f.tell(c, v1alpha1.ConditionReachable, status, reason, message)
}

// seen says whether pods are seen by their own addresses. What agents have seen from inside pods weighs more than what is
// connected: that may be a client on the node itself.
func (f *registryFound) seen(c *v1alpha1.RegistryCheck, masked []registry.Client, l looked) []notice {
	if c.Spec.Registry.ZooKeeper == nil {
		return nil
	}
	var status metav1.ConditionStatus
	var reason, message string
	nodes := c.Status.Masquerading
	switch {
	case len(l.wrong) > 0:
		status, reason, message = metav1.ConditionFalse, string(registry.Masqueraded), fmt.Sprintf("pods of %s: %s", few(nodes), l.wrong[0].Message)
	case len(masked) > 0:
		status, reason, message = metav1.ConditionFalse, string(registry.Masqueraded), fmt.Sprintf("pods of %s: %s", few(nodes), masked[0].Findings[0].Message)
	case len(l.own) > 0:
		status, reason, message = metav1.ConditionTrue, "PodAddressesSeen", fmt.Sprintf("from pods of %d nodes their own addresses are seen, and %d pods are connected with theirs", len(l.own), f.podsSeen)
	case f.podsSeen > 0:
		status, reason, message = metav1.ConditionTrue, "PodAddressesSeen", fmt.Sprintf("%d pods are connected with their own addresses", f.podsSeen)
	case !f.asked:
		status, reason, message = metav1.ConditionUnknown, string(registry.NotAsked), cmp.Or(f.unasked, "the registry was not asked")
	default:
		status, reason, message = metav1.ConditionUnknown, "NoPodsSeen", "no pod is connected"
	}
	return f.tell(c, v1alpha1.ConditionPodsSeen, status, reason, message)
}

func (f *registryFound) nearLimit(c *v1alpha1.RegistryCheck) []notice {
	switch {
	case c.Spec.Registry.ZooKeeper == nil:
		return nil
	case !f.asked:
		return f.tell(c, v1alpha1.ConditionLimitNear, metav1.ConditionUnknown, string(registry.NotAsked), cmp.Or(f.unasked, "the registry was not asked"))
	case len(f.near) == 0:
		return f.tell(c, v1alpha1.ConditionLimitNear, metav1.ConditionFalse, "Room", "no address has 80 % of the connections that it may have")
	}
	worst := f.near[0].Findings[len(f.near[0].Findings)-1]
	return f.tell(c, v1alpha1.ConditionLimitNear, metav1.ConditionTrue, string(worst.Reason), worst.Message)
}

// tell puts a condition into the status; the notice is for news. That all is well from the beginning is none.
func (f *registryFound) tell(c *v1alpha1.RegistryCheck, kind string, status metav1.ConditionStatus, reason, message string) []notice {
	bad := status == metav1.ConditionFalse
	if kind == v1alpha1.ConditionLimitNear {
		bad = status == metav1.ConditionTrue
	}
	text := f.say(message)
	first := !slices.ContainsFunc(c.Status.Conditions, func(o metav1.Condition) bool { return o.Type == kind })
	_, news := judged(&c.Status.ObjectStatus, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: text, ObservedGeneration: c.Generation})
	if !news && !(first && bad) || first && !bad {
		return nil
	}
	n := notice{corev1.EventTypeNormal, reason, kind, text}
	if bad || status == metav1.ConditionUnknown {
		n.kind = corev1.EventTypeWarning
	}
	return []notice{n}
}

// measure sets the metrics of a check.
func (f *registryFound) measure(c *v1alpha1.RegistryCheck) {
	unmeasureRegistry(c.Name)
	for _, count := range c.Status.Providers {
		registryProviders.WithLabelValues(c.Name, count.Class, "true").Set(float64(count.Reachable))
		registryProviders.WithLabelValues(c.Name, count.Class, "false").Set(float64(count.Unreachable))
	}
	for i := range f.near[:min(len(f.near), mostSeries)] {
		n := &f.near[i]
		registryConnections.WithLabelValues(c.Name, n.Server, n.Address.String()).Set(float64(n.Connections))
	}
	for server, limit := range f.limits {
		registryConnectionLimit.WithLabelValues(c.Name, server).Set(float64(limit))
	}
	if c.Spec.Registry.ZooKeeper != nil {
		registryMasquerading.WithLabelValues(c.Name).Set(float64(len(c.Status.Masquerading)))
	}
	if !c.Status.LastSuccess.IsZero() {
		registryLastSuccess.WithLabelValues(c.Name).Set(float64(c.Status.LastSuccess.Unix()))
	}
}

// unmeasureRegistry removes the metrics of a check.
func unmeasureRegistry(check string) {
	of := map[string]string{"check": check}
	registryProviders.DeletePartialMatch(of)
	registryConnections.DeletePartialMatch(of)
	registryConnectionLimit.DeletePartialMatch(of)
	registryMasquerading.DeletePartialMatch(of)
	registryLastSuccess.DeletePartialMatch(of)
}
