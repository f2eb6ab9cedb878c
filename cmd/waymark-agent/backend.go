package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"time"

	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/iptables"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

// The values of --nat-backend.
const (
	autoBackend     = "auto"
	nftablesBackend = "nftables"
	iptablesBackend = "iptables"
)

const backendTimeout = 10 * time.Second // for a choice, and to remove what an agent with another one has left

type backend interface {
	Name() string
	Check(ctx context.Context) error
	Apply(ctx context.Context, plan nat.Plan) (nat.Result, error)
	Watch(ctx context.Context, notify func()) error
	Remove(ctx context.Context) error
}

// sources is the backend chosen, and the others until what they may have left is removed: after the first apply, so that there
// is no moment in which none is in force.
type sources struct {
	backend
	others []backend
	log    *slog.Logger
}

// chooseBackend is for the life of the process.
func chooseBackend(ctx context.Context, choice string, log *slog.Logger) (*sources, error) {
	ctx, cancel := context.WithTimeout(ctx, backendTimeout)
	defer cancel()
	nft := nftables.New()
	var refused error
	if choice == autoBackend {
		refused = nft.Check(ctx)
	}
	variants := []iptables.Variant{iptables.NFT, iptables.Legacy}
	if choice != iptablesBackend && refused == nil {
		s := &sources{backend: nft, log: log}
		for _, v := range variants {
			s.others = append(s.others, iptables.New(v))
		}
		log.Info("NAT backend chosen", "backend", s.Name(), "choice", choice)
		return s, nil
	}
	used, err := iptables.Detect(ctx)
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	s := &sources{backend: iptables.New(used), others: []backend{nft}, log: log}
	for _, v := range variants {
		if v != used {
			s.others = append(s.others, iptables.New(v))
		}
	}
	if err := s.Check(ctx); err != nil {
		return nil, errors.Join(refused, err)
	}
	log.Info("NAT backend chosen", "backend", s.Name(), "choice", choice, "refused", refused)
	return s, nil
}

// Apply applies the plan with the backend chosen.
func (s *sources) Apply(ctx context.Context, plan nat.Plan) (nat.Result, error) {
	result, err := s.backend.Apply(ctx, plan)
	if err != nil {
		return result, err
	}
	for _, other := range s.others {
		ctx, cancel := context.WithTimeout(ctx, backendTimeout)
		if err := other.Remove(ctx); err != nil && !errors.Is(err, exec.ErrNotFound) {
			s.log.Warn("rules of another NAT backend may be left", "backend", other.Name(), "error", err)
		}
		cancel()
	}
	s.others = nil
	return result, nil
}

// beaten is how the backend knows whether another NAT decides before it; nil: none ever does.
func (s *sources) beaten() func(context.Context) ([]string, error) {
	if b, ok := s.backend.(*iptables.Backend); ok {
		return b.Beaten
	}
	return nil
}

func checkBackend(choice string) error {
	switch choice {
	case autoBackend, nftablesBackend, iptablesBackend:
		return nil
	}
	return fmt.Errorf("--nat-backend %q: want %s, %s or %s", choice, autoBackend, nftablesBackend, iptablesBackend)
}
