package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	minHold        = 3 * time.Second // RFC 4271, section 4.2
	maxTimer       = 65535 * time.Second
	maxRestartTime = 4095 * time.Second // 12 bits: RFC 4724, section 3
)

// Validate says what is wrong with the configuration apart from its peers: nothing of it can be applied then.
func (c *Config) Validate() error {
	var errs []error
	if c.ASN == 0 {
		errs = append(errs, errors.New("ASN is 0, want 1..4294967295"))
	}
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		errs = append(errs, fmt.Errorf("router ID is %s, want an IPv4 address", c.RouterID))
	}
	if r := c.GracefulRestart; r.Enabled && (r.RestartTime < time.Second || r.RestartTime > maxRestartTime) {
		errs = append(errs, fmt.Errorf("graceful restart: restart time is %v, want 1s..%v", r.RestartTime, maxRestartTime))
	}
	for _, r := range c.Accept {
		if err := r.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("accept: %w", err))
		}
	}
	seen := map[netip.Prefix]bool{}
	for _, a := range c.Announce {
		if err := validPrefix(a.Prefix); err != nil {
			errs = append(errs, fmt.Errorf("announce: %w", err))
		} else if seen[a.Prefix] {
			errs = append(errs, fmt.Errorf("announce: %s is there twice", a.Prefix))
		}
		seen[a.Prefix] = true
	}
	return errors.Join(errs...)
}

// ValidPeers returns the peers that can be applied, and what is wrong with the others.
func (c *Config) ValidPeers() ([]Peer, error) {
	var (
		valid []Peer
		errs  []error
	)
	for _, p := range c.Peers {
		err := p.Validate(c)
		if i := slices.IndexFunc(valid, func(q Peer) bool { return q.Address == p.Address }); err == nil && i >= 0 {
			err = fmt.Errorf("peer %s has the same address", valid[i].Name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("peer %s (%s): %w", p.Name, p.Address, err))
			continue
		}
		valid = append(valid, p)
	}
	return valid, errors.Join(errs...)
}

// Validate says why the peer cannot be applied as one of c's.
func (p *Peer) Validate(c *Config) error {
	if err := p.validateAddress(c); err != nil {
		return err
	}
	switch {
	case p.ASN == 0:
		return errors.New("ASN is 0, want 1..4294967295")
	case p.MultihopTTL != 0 && p.TTLSecurity != 0:
		return errors.New("multihop and TTL security exclude each other")
	case p.Passive && c.ListenPort == 0:
		return errors.New("passive, but the speaker does not listen: nobody would connect")
	case len(p.Families) == 0:
		return errors.New("no address family, want ipv4, ipv6 or both")
	case len(p.Password.Reveal()) > 80:
		return errors.New("the password is longer than 80 bytes, the most that TCP MD5 takes")
	case p.Attributes.LocalPreference != nil && *p.Attributes.LocalPreference == 0:
		return errors.New("local preference is 0, want 1..4294967295")
	}
	for i, f := range p.Families {
		if f != IPv4 && f != IPv6 || slices.Contains(p.Families[:i], f) {
			return fmt.Errorf("families are %v, want ipv4, ipv6 or both", p.Families)
		}
	}
	if err := p.Timers.validate(); err != nil {
		return err
	}
	for _, r := range p.Import {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	for _, r := range p.Export {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

func (p *Peer) validateAddress(c *Config) error {
	a := p.Address
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6():
		return errors.New("that is no address of a router")
	case a == c.RouterID:
		return errors.New("that is this node itself")
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return errors.New("a link-local address needs its interface: fe80::1%eth0")
	}
	return nil
}

func (t Timers) validate() error {
	for _, d := range []time.Duration{t.Hold, t.Keepalive, t.ConnectRetry} {
		if d < 0 || d > maxTimer || d%time.Second != 0 {
			return fmt.Errorf("timer %v: want whole seconds up to %v", d, maxTimer)
		}
	}
	if t.Hold != 0 && t.Hold < minHold {
		return fmt.Errorf("hold time is %v, want at least %v", t.Hold, minHold)
	}
	if t.Hold != 0 && t.Keepalive >= t.Hold {
		return fmt.Errorf("keepalive %v is not shorter than the hold time %v", t.Keepalive, t.Hold)
	}
	return nil
}
