package ipam

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// Planned is the kind of a range that nobody uses yet: it gives way to all others.
const Planned Kind = "plan"

// Plan is a cluster's addresses before it is built.
type Plan struct {
	Cluster []Range        // for pods, at most one of each family
	Service []netip.Prefix // for Services, at most one of each family
	Nodes   int            // at the beginning
	Growth  float64        // of their number in a year: 0.3 is 30 %
	// Used is what others have. Of the Kind Route, a prefix that holds a whole range is only a doubt: an aggregate of the
	// datacenter's does no harm. A default route is nobody's.
	Used []Claim
}

// Range is what pods get addresses from.
type Range struct {
	Prefix  netip.Prefix
	PerNode int // length of a node's prefix
}

// Verdict is what there is to say of one range of a plan.
type Verdict struct {
	Prefix    netip.Prefix
	Service   bool    // it is for Services; else for pods
	PerNode   int     // for pods
	Capacity  uint64  // nodes, for pods; at most 2^62
	Years     float64 // until more nodes are wanted than have room, for pods; 0: no growth, or no room now
	Findings  []Finding
	Proposals []netip.Prefix // ranges that would do, nearest first, if this one does not
}

// Fits says that nothing speaks against the range. There may be doubts.
func (v *Verdict) Fits() bool {
	return !slices.ContainsFunc(v.Findings, func(f Finding) bool { return !f.Doubt })
}

// Finding speaks against a range, or is a doubt that somebody else must settle.
type Finding struct {
	Reason  Reason
	Message string
	Doubt   bool
}

// The reasons of findings.
const (
	Overlap     Reason = "Overlap"     // somebody has it, or a part of it
	Covered     Reason = "Covered"     // a route to something larger holds it
	TooSmall    Reason = "TooSmall"    // for the nodes
	TooLarge    Reason = "TooLarge"    // for kube-controller-manager or kubeadm
	SmallSubnet Reason = "SmallSubnet" // a node could not have as many pods as a kubelet allows
	SpecialUse  Reason = "SpecialUse"  // addresses with a meaning of their own
	Public      Reason = "Public"      // addresses of the Internet
)

const (
	// What kube-controller-manager's CIDR allocator (IPv6) and kubeadm (both families) allow between the length of the cluster's
	// prefix and of a node's.
	maxDifference = 16
	// kubelet's default of --max-pods.
	maxPods = 110
	// What a finding of the plan is answered with.
	proposals = 3
)

// Check judges each range of the plan, those for pods first. The error is a plan that makes no sense.
func (p Plan) Check() ([]Verdict, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	var verdicts []Verdict
	taken := slices.Clone(p.Used)
	for _, s := range p.Service {
		taken = append(taken, Claim{Kind: Service, Name: "range", Prefix: s})
	}
	for _, r := range p.Cluster {
		v := Verdict{Prefix: r.Prefix, PerNode: r.PerNode}
		length := p.size(&v)
		v.use(p.Used)
		if !v.Fits() {
			v.Proposals = propose(r.Prefix, length, taken)
		}
		verdicts = append(verdicts, v)
	}
	taken = slices.Clone(p.Used)
	for _, v := range verdicts {
		taken = append(taken, Claim{Kind: Planned, Name: "the cluster's pods", Prefix: v.Prefix})
		for _, q := range v.Proposals { // the two are to fit beside each other
			taken = append(taken, Claim{Kind: Planned, Prefix: q})
		}
	}
	for _, s := range p.Service {
		v := Verdict{Prefix: s, Service: true}
		v.use(p.Used)
		for _, r := range p.Cluster {
			if r.Prefix.Overlaps(s) {
				v.find(Overlap, "overlaps the cluster's own %v for pods", r.Prefix)
			}
		}
		if !v.Fits() {
			v.Proposals = propose(s, s.Bits(), taken)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// check finds what makes no sense.
func (p Plan) check() error {
	if len(p.Cluster) == 0 {
		return errors.New("there is no range for pods")
	}
	if p.Nodes < 1 {
		return fmt.Errorf("%d nodes: want at least one", p.Nodes)
	}
	if !(p.Growth >= 0 && p.Growth <= 1000) {
		return fmt.Errorf("a growth of %v%% a year is none", p.Growth*100)
	}
	var pods []netip.Prefix
	for _, r := range p.Cluster {
		if most := r.Prefix.Addr().BitLen(); r.PerNode < 1 || r.PerNode > most {
			return fmt.Errorf("a node of %v with a /%d: want 1..%d", r.Prefix, r.PerNode, most)
		}
		pods = append(pods, r.Prefix)
	}
	return errors.Join(checkRanges("pods", pods), checkRanges("Services", p.Service))
}

func checkRanges(of string, ranges []netip.Prefix) error {
	for i, r := range ranges {
		switch {
		case !r.IsValid() || r.Addr().Is4In6():
			return fmt.Errorf("%v is no range for %s", r, of)
		case r != r.Masked():
			return fmt.Errorf("%v has host bits: %v would be the network that it is in", r, r.Masked())
		case r.Bits() == 0:
			return fmt.Errorf("%v is everything", r)
		case slices.ContainsFunc(ranges[:i], func(o netip.Prefix) bool { return o.Addr().Is4() == r.Addr().Is4() }):
			return fmt.Errorf("two %s ranges for %s: Kubernetes takes one of each family", family(!r.Addr().Is4()), of)
		}
	}
	return nil
}

// find adds what speaks against the range.
func (v *Verdict) find(reason Reason, format string, args ...any) {
	v.Findings = append(v.Findings, Finding{Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// doubt adds what somebody must look at.
func (v *Verdict) doubt(reason Reason, format string, args ...any) {
	v.Findings = append(v.Findings, Finding{Reason: reason, Message: fmt.Sprintf(format, args...), Doubt: true})
}

// size says for how many nodes and years there is room, and returns the length of a prefix that has the right size; 0: no prefix has.
func (p Plan) size(v *Verdict) (length int) {
	length = v.Prefix.Bits()
	if v.PerNode >= length {
		v.Capacity = 1 << min(v.PerNode-length, 62)
	}
	switch {
	case v.Capacity < uint64(p.Nodes):
		length = max(0, v.PerNode-bits.Len(uint(p.Nodes-1)))
		v.find(TooSmall, "has room for %d nodes with a /%d each, %d are planned%s", v.Capacity, v.PerNode, p.Nodes, needs(length))
	case p.Growth > 0:
		v.Years = math.Log(float64(v.Capacity)/float64(p.Nodes)) / math.Log1p(p.Growth)
	}
	ipv6 := !v.Prefix.Addr().Is4()
	switch large := v.PerNode-v.Prefix.Bits() > maxDifference; {
	case large && ipv6:
		v.find(TooLarge, "kube-controller-manager refuses more than %d bits between an IPv6 range and a node's /%d", maxDifference, v.PerNode)
	case large:
		v.doubt(TooLarge, "kubeadm refuses more than %d bits between a range and a node's /%d; kube-controller-manager takes it", maxDifference, v.PerNode)
	}
	switch least := v.PerNode - maxDifference; {
	case !ipv6 || length >= least:
	case p.Nodes <= 1<<maxDifference:
		length = least
	default:
		v.find(TooLarge, "kube-controller-manager gives no IPv6 range more than %d nodes", 1<<maxDifference)
		length = 0
	}
	if pods := 1<<min(v.Prefix.Addr().BitLen()-v.PerNode, 30) - 2; pods < maxPods {
		v.doubt(SmallSubnet, "a node's /%d has addresses for %d pods; a kubelet runs up to %d unless --max-pods says less", v.PerNode, max(pods, 0), maxPods)
	}
	return length
}

// needs is the end of a message on a range that is too small.
func needs(length int) string {
	if length == 0 {
		return ": there is no range so large"
	}
	return fmt.Sprintf(": that needs a /%d", length)
}

// use finds whose the addresses are.
func (v *Verdict) use(used []Claim) {
	special := false
	for _, s := range specialUse {
		if s.prefix.Overlaps(v.Prefix) {
			v.Findings = append(v.Findings, Finding{SpecialUse, fmt.Sprintf("overlaps %v, %s", s.prefix, s.what), s.doubt})
			special = true
		}
	}
	if _, private := blockOf(v.Prefix); !private && !special {
		v.doubt(Public, "is no private range: it must have been assigned to you")
	}
	real := slices.DeleteFunc(slices.Clone(used), func(c Claim) bool { return c.Prefix.Bits() <= 0 })
	for _, c := range Conflicts([]Claim{{Kind: Planned, Prefix: v.Prefix}}, real) {
		v.find(Overlap, "overlaps %v", c.Other)
	}
	for _, c := range real {
		if covers(c, v.Prefix) {
			v.doubt(Covered, "lies in %v: an aggregate, or somebody has been given the addresses", c)
		}
	}
}

// covers says whether a claim is a route to something larger.
func covers(c Claim, p netip.Prefix) bool {
	return c.Kind == Route && c.Prefix.Bits() < p.Bits() && c.Prefix.Contains(p.Addr())
}
