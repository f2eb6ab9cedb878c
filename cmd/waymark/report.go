package main

import (
	"maps"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/nat"
)

// report is the status as programs read it: durations have their unit, as "1m30s", and lists and maps are never null. A field
// here takes the place of the embedded one of the same name.
type report struct {
	agent.Status
	Peers     []reportPeer             `json:"peers"`
	Announced []netip.Prefix           `json:"announced"`
	Policies  []nat.Policy             `json:"policies"`
	Egress    []reportEgress           `json:"egress"`
	Ports     []agent.PortUse          `json:"ports"`
	BFD       reportBFD                `json:"bfd"`
	Problems  []agent.Problem          `json:"problems"`
	Stages    map[string]reportStage   `json:"stages"`
	Repairs   map[string]uint64        `json:"repairs"`
	Learned   []telemetry.LearnedRoute `json:"learned"`
}

type reportPeer struct {
	agent.PeerStatus
	HoldTime metav1.Duration `json:"holdTime"`
	BFD      *reportSession  `json:"bfd,omitempty"`
}

type reportSession struct {
	bfd.Status
	TxInterval    metav1.Duration `json:"txInterval"`
	DetectionTime metav1.Duration `json:"detectionTime"`
}

type reportEgress struct {
	agent.EgressState
	Part         string          `json:"part"`
	Outage       metav1.Duration `json:"outage"`
	LastFailover *reportFailover `json:"lastFailover,omitempty"`
}

type reportFailover struct {
	agent.Failover
	Outage metav1.Duration `json:"outage"`
}

type reportBFD struct {
	agent.BFDStatus
	Wanted []netip.Addr `json:"wanted"`
}

type reportStage struct {
	agent.Stage
	Total metav1.Duration `json:"total"`
}

func reportOf(s agent.Status, learned []telemetry.LearnedRoute) report {
	r := report{
		Status:    s,
		Peers:     []reportPeer{},
		Announced: list(s.Announced),
		Policies:  list(s.Policies),
		Egress:    []reportEgress{},
		Ports:     list(s.Ports),
		BFD:       reportBFD{s.BFD, list(s.BFD.Wanted)},
		Problems:  list(s.Problems),
		Stages:    map[string]reportStage{},
		Repairs:   map[string]uint64{},
		Learned:   list(learned),
	}
	for _, p := range s.Peers {
		peer := reportPeer{PeerStatus: p, HoldTime: span(p.HoldTime)}
		if b := p.BFD; b != nil {
			peer.BFD = &reportSession{*b, span(b.TxInterval), span(b.DetectionTime)}
		}
		r.Peers = append(r.Peers, peer)
	}
	for i := range s.Egress {
		e := reportEgress{EgressState: s.Egress[i], Part: part(&s.Egress[i]), Outage: span(s.Egress[i].Outage)}
		if f := s.Egress[i].LastFailover; f != nil {
			e.LastFailover = &reportFailover{*f, span(f.Outage)}
		}
		r.Egress = append(r.Egress, e)
	}
	for name, stage := range s.Stages {
		r.Stages[name] = reportStage{stage, span(stage.Total)}
	}
	maps.Copy(r.Repairs, s.Repairs)
	return r
}

func list[T any](items []T) []T { return append([]T{}, items...) }

func span(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
