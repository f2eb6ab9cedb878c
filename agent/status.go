package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/route"
)

// Status is what is in force on the node now, for people and for metrics.
type Status struct {
	Node      string            `json:"node"`
	Version   string            `json:"version"` // of the agent
	Started   time.Time         `json:"started"`
	Restarted bool              `json:"restarted"`          // took over from an earlier agent on this boot
	PassBegan time.Time         `json:"passBegan,omitzero"` // of the pass that is under way; zero: none
	Ready     bool              `json:"ready"`
	NotReady  string            `json:"notReady,omitempty"` // why
	Synced    bool              `json:"synced"`             // the source has been read completely
	Drained   bool              `json:"drained"`
	ASN       uint32            `json:"asn,omitempty"`
	RouterID  netip.Addr        `json:"routerID,omitzero"`
	Peers     []PeerStatus      `json:"peers"`
	Waiting   []string          `json:"waiting,omitempty"` // peers that this node should have and cannot have yet
	Announced []netip.Prefix    `json:"announced"`
	Routes    RouteStatus       `json:"routes"`
	Gate      Gate              `json:"gate"`
	Drain     *Drain            `json:"drain,omitempty"`   // nil: the node does not drain
	Restored  time.Time         `json:"restored,omitzero"` // the snapshot comes from disk, from this time; the API server cannot be reached
	Backend   string            `json:"natBackend"`
	Policies  []nat.Policy      `json:"policies"`
	Pods      []netip.Prefix    `json:"pods,omitempty"` // pod prefixes of the node, which Policies speak of
	Audit     Audit             `json:"audit"`
	Egress    []EgressState     `json:"egress,omitempty"` // addresses that pods of the node use, or that it may own
	Ports     []PortUse         `json:"ports,omitempty"`  // of addresses that it may own
	BFD       BFDStatus         `json:"bfd"`
	Problems  []Problem         `json:"problems"`
	Stages    map[string]Stage  `json:"stages"`
	Repairs   map[string]uint64 `json:"repairs"` // drift mended, by "nat", "routes" and "tunnels"
	// SourceErrors counts what the source could not read since the start.
	SourceErrors uint64 `json:"sourceErrors"`
	// Generations of the objects that Policies come from, by name.
	Generations map[string]int64 `json:"generations,omitempty"`
}

// Gate says whether the node may begin to announce. What is announced already stays when it closes.
type Gate struct {
	Open bool `json:"open"`
	// Reason is one word: Open, or why not: NoNode, NotConfigured, NoPodCIDR, NotJudged, Overlap, Learning,
	// Tunnels, NAT, Routes, Drain.
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// Drain says how far the node is on its way out.
type Drain struct {
	Phase   string    `json:"phase"` // Draining or Drained, as in NodeRoutingState
	Since   time.Time `json:"since"`
	Message string    `json:"message,omitempty"`
}

// PeerStatus is a session with the path under it.
type PeerStatus struct {
	bgp.PeerState
	BFDWanted bool        `json:"bfdWanted"`
	BFD       *bfd.Status `json:"bfd,omitempty"` // nil: not wanted, or waymark-bfd has not said anything of it
}

// RouteStatus is what became of the learned routes.
type RouteStatus struct {
	Table    int  `json:"table"`
	Metric   int  `json:"metric"`
	Settling bool `json:"settling"` // routes of an earlier agent are kept until all peers have told all they have
	route.Result
}

// BFDStatus says whether BFD runs where it is wanted.
type BFDStatus struct {
	Wanted    []netip.Addr `json:"wanted"`    // the peers that ask for it
	Connected bool         `json:"connected"` // waymark-bfd is there
}

// Stage counts what one stage of the apply has done.
type Stage struct {
	Runs      uint64        `json:"runs"`
	Errors    uint64        `json:"errors"`
	Total     time.Duration `json:"total"` // time spent
	LastError string        `json:"lastError,omitempty"`
}

// Status returns what is in force now.
func (a *Agent) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Stages = maps.Clone(a.status.Stages)
	s.Repairs = maps.Clone(a.status.Repairs)
	s.Problems = slices.Concat(a.status.Problems, a.status.Audit.problems(a.Node))
	for i := range s.Ports {
		s.Problems = append(s.Problems, s.Ports[i].problems()...)
	}
	report, _, connected := a.Paths.States()
	sessions := report.Sessions
	s.BFD.Connected = connected
	if len(s.Egress) > 0 && !connected {
		s.Problems = append(s.Problems, Problem{Object: "Node/" + s.Node, Reason: "NoBFD",
			Message: "waymark-bfd is not running here: whether egress gateways are alive is not known, and there is no failover"})
	}
	s.SourceErrors = a.Source.Errors()
	s.Peers = nil
	for _, state := range a.Speaker.Peers() {
		peer := PeerStatus{PeerState: state, BFDWanted: slices.Contains(a.status.BFD.Wanted, state.Address)}
		if i := slices.IndexFunc(sessions, func(s bfd.Status) bool { return peerOf(s) == state.Address }); i >= 0 && connected {
			peer.BFD = &sessions[i]
		}
		s.Peers = append(s.Peers, peer)
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.Name, b.Name) })
	s.Ready, s.NotReady = ready(s)
	return s
}

// ready says whether traffic may rely on this node.
func ready(s Status) (bool, string) {
	switch {
	case !s.Synced:
		return false, "the source has not been read completely" + because(s.Problems, fromSource)
	case s.ASN == 0:
		return false, "BGP is not configured" + because(s.Problems, isMissing)
	case len(s.Peers) == 0 && len(s.Waiting) > 0:
		return false, "no peer is in force; these wait: " + strings.Join(s.Waiting, ", ")
	case len(s.Peers) > 0 && !slices.ContainsFunc(s.Peers, func(p PeerStatus) bool { return p.State == bgp.Established }):
		return false, "no session is established"
	}
	for _, name := range []string{"host", "tunnels", "nat", "routes", "announce"} {
		if err := s.Stages[name].LastError; err != "" {
			return false, err
		}
	}
	return true, ""
}

// because is the first of the problems that are a reason, to be put behind what comes of it.
func because(problems []Problem, reason func(Problem) bool) string {
	i := slices.IndexFunc(problems, reason)
	switch {
	case i < 0:
		return ""
	case problems[i].Where != "":
		return fmt.Sprintf(": %s: %s", problems[i].Where, problems[i].Message)
	}
	return ": " + problems[i].Message
}

func fromSource(p Problem) bool { return p.Where != "" }
func isMissing(p Problem) bool  { return p.Reason == "Missing" }

// publish copies what the last pass has reached into the status.
func (a *Agent) publish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Synced = a.snapshot.Synced
	a.status.Drained = a.plan.Drained
	a.status.Drain = nil
	if a.draining.Phase != "" {
		drain := a.draining.Drain
		a.status.Drain = &drain
	}
	a.status.Restored = a.snapshot.Restored
	a.status.Gate = a.gate()
	a.status.Problems = a.plan.Problems
	a.status.Waiting = a.plan.Waiting
	if a.plan.NAT != nil {
		a.status.Policies, a.status.Pods = a.plan.NAT.Policies, a.plan.NAT.Pods
		a.status.Generations = map[string]int64{}
		for i := range a.snapshot.Policies {
			a.status.Generations[a.snapshot.Policies[i].Name] = a.snapshot.Policies[i].Generation
		}
	}
	a.status.Egress = a.egressStates()
	if a.plan.Routes != nil {
		a.status.Routes.Table, a.status.Routes.Metric = a.plan.Routes.Table, a.plan.Routes.Metric
	}
	a.status.Routes.Settling = !a.settled
	a.status.BFD.Wanted = nil
	for _, session := range a.plan.BFD {
		a.status.BFD.Wanted = append(a.status.BFD.Wanted, peerOf(bfd.Status{Key: session.Key}))
	}
	a.status.Announced = a.announced(Remembered{})
	if a.applied != nil {
		a.status.ASN, a.status.RouterID = a.applied.ASN, a.applied.RouterID
	}
}

// gate is the plan's, closed too while the datapath is not in force.
func (a *Agent) gate() Gate {
	gate := a.plan.Gate
	if !gate.Open {
		return gate
	}
	for _, stage := range []struct{ name, reason string }{{"tunnels", "Tunnels"}, {"nat", "NAT"}, {"routes", "Routes"}} {
		if err := a.status.Stages[stage.name].LastError; err != "" {
			return Gate{Reason: stage.reason, Message: err}
		}
	}
	return gate
}

// slow is longer than a stage takes on a node that is well. It may wait for the kernel, which lets one program at a time change
// links, and is busy with others' for seconds where many pods end at once.
const slow = time.Second

// stage runs one stage of the apply and keeps the account of it.
func (a *Agent) stage(name string, run func() error) error {
	begin := time.Now()
	err := run()
	took := time.Since(begin)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Stages == nil {
		a.status.Stages = map[string]Stage{}
	}
	s := a.status.Stages[name]
	last := s.LastError
	s.Runs, s.Total, s.LastError = s.Runs+1, s.Total+took, ""
	if took > slow {
		a.Log.Warn("apply took long", "stage", name, "took", took)
	}
	if err != nil {
		s.Errors, s.LastError = s.Errors+1, err.Error()
		if s.LastError != last {
			a.Log.Error("apply", "stage", name, "err", err)
		}
	}
	a.status.Stages[name] = s
	return err
}

// working notes when a pass begins, so that one that hangs can be seen.
func (a *Agent) working(now bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.PassBegan = time.Time{}
	if now {
		a.status.PassBegan = time.Now()
	}
}

func (a *Agent) repaired(what string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Repairs == nil {
		a.status.Repairs = map[string]uint64{}
	}
	a.status.Repairs[what] += uint64(n)
	a.Log.Warn("repaired what another program had changed", "what", what, "count", n)
}

// report logs each problem once, when it comes and when it is gone.
func (a *Agent) report() {
	now := map[string]bool{}
	for _, p := range a.plan.Problems {
		text := p.String()
		now[text] = true
		if !a.problems[text] {
			a.Log.Warn("not in force", "object", p.Object, "where", p.Where, "reason", p.Reason, "message", p.Message)
		}
	}
	for text := range a.problems {
		if !now[text] {
			a.Log.Info("problem is gone", "was", text)
		}
	}
	a.problems = now
}
