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
	for name, stage := range s.Stages {
		r.Stages[name] = reportStage{stage, span(stage.Total)}
	}
	maps.Copy(r.Repairs, s.Repairs)
	return r
}

func list[T any](items []T) []T { return append([]T{}, items...) }

func span(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
