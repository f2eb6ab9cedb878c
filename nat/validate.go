package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// validate says what is wrong with the plan.
func (p Plan) validate() error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, prefix := range p.Pods {
		if err := checkPrefix(prefix); err != nil {
			errs = append(errs, fmt.Errorf("pod prefix: %w", err))
		}
	}
	names := map[string]bool{}
	for _, policy := range p.Policies {
		add(policy.Validate())
		if names[policy.Name] {
			errs = append(errs, fmt.Errorf("egress policy %q is there twice", policy.Name))
		}
		names[policy.Name] = true
		if len(policy.Via) > 0 && p.Tunnel.Prefix == "" {
			errs = append(errs, fmt.Errorf("egress policy %q: paths without tunnels", policy.Name))
		}
	}
	add(p.Tunnel.validate())
	seen := map[any]bool{}
	for _, exit := range p.Exits {
		add(exit.validate(p.Tunnel.Prefix))
		for _, key := range []any{exit.Mark, exit.Device, exit.Address} {
			if seen[key] && key != (netip.Addr{}) {
				errs = append(errs, fmt.Errorf("exit %d: another exit has %v too", exit.Mark, key))
			}
			seen[key] = true
		}
	}
	return errors.Join(errs...)
}

// Validate says what is wrong with the policy. Prefixes may have host bits set, repeat and overlap.
func (p Policy) Validate() error {
	var errs []error
	if p.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	errs = append(errs, p.checkSource()...)
	for _, pod := range p.Pods {
		if err := checkPrefix(netip.PrefixFrom(pod, pod.BitLen())); err != nil {
			errs = append(errs, fmt.Errorf("pod: %w", err))
		}
	}
	for _, prefix := range p.Destinations {
		if err := checkPrefix(prefix); err != nil {
			errs = append(errs, fmt.Errorf("destination: %w", err))
		}
	}
	for _, prefix := range p.Exclude {
		if err := checkPrefix(prefix); err != nil {
			errs = append(errs, fmt.Errorf("excluded destination: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("egress policy %q: %w", p.Name, err)
	}
	return nil
}

func (p Policy) checkSource() (errs []error) {
	switch p.Source {
	case SourcePod, SourceNode:
		if len(p.Via) > 0 || p.Fallback != "" {
			errs = append(errs, fmt.Errorf("paths or a fallback with source %s", p.Source))
		}
	case SourceGateway:
		if p.Fallback != SourceDrop && p.Fallback != SourceNode && p.Fallback != SourcePod {
			errs = append(errs, fmt.Errorf("fallback %q is none of %s, %s and %s", p.Fallback, SourceDrop, SourceNode, SourcePod))
		}
	default:
		errs = append(errs, fmt.Errorf("source %q is none of %s, %s and %s", p.Source, SourcePod, SourceNode, SourceGateway))
	}
	marks := map[uint16]bool{}
	for _, path := range p.Via {
		switch {
		case marks[path.Mark]:
			errs = append(errs, fmt.Errorf("path %d is there twice", path.Mark))
		case !path.IPv4 && !path.IPv6:
			errs = append(errs, fmt.Errorf("path %d is of no family", path.Mark))
		}
		marks[path.Mark] = true
		if err := checkMark(path.Mark); err != nil {
			errs = append(errs, fmt.Errorf("path: %w", err))
		}
	}
	return errs
}

func (e Exit) validate(devicePrefix string) error {
	var errs []error
	if err := checkMark(e.Mark); err != nil {
		errs = append(errs, err)
	}
	if err := checkName(e.Device); err != nil {
		errs = append(errs, fmt.Errorf("device: %w", err))
	} else if devicePrefix == "" || !strings.HasPrefix(e.Device, devicePrefix) {
		errs = append(errs, fmt.Errorf("device %q does not begin with the prefix of tunnels, %q", e.Device, devicePrefix))
	}
	if a := e.Address; a.IsValid() && (!a.IsGlobalUnicast() || a.Is4In6() || a.Zone() != "") {
		errs = append(errs, fmt.Errorf("%s cannot be an egress address", a))
	}
	if e.Last < e.First || e.First == 0 && e.Last != 0 {
		errs = append(errs, fmt.Errorf("%d-%d is no range of ports", e.First, e.Last))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("exit %d: %w", e.Mark, err)
	}
	return nil
}

// minMTU is what every IPv4 host takes (RFC 791); less is a mistake.
const minMTU = 576

func (t Tunnel) validate() error {
	if t.Port == 0 && t.Prefix == "" {
		return nil
	}
	var errs []error
	if err := checkName(t.Prefix); err != nil {
		errs = append(errs, fmt.Errorf("prefix of devices: %w", err))
	}
	if t.MTU < minMTU || t.MTU > 65535 {
		errs = append(errs, fmt.Errorf("MTU %d is not in %d-65535", t.MTU, minMTU))
	}
	for _, peer := range t.Peers {
		if err := checkPrefix(peer); err != nil {
			errs = append(errs, fmt.Errorf("peer: %w", err))
		}
	}
	for _, gateway := range hosts(t.Gateways) {
		if err := checkPrefix(gateway); err != nil {
			errs = append(errs, fmt.Errorf("gateway: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tunnels: %w", err)
	}
	return nil
}

func checkMark(mark uint16) error {
	if mark < 1 || mark > MaxMark {
		return fmt.Errorf("mark %d is not in 1-%d", mark, MaxMark)
	}
	return nil
}

// checkName refuses what is no device name, or has a character that means something in a ruleset.
func checkName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	if name == "" || len(name) > 15 || strings.Trim(name, letters) != "" {
		return fmt.Errorf("%q is not a name of 1-15 letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

func checkPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("%q is not a prefix", p)
	}
	if p.Addr().Is4In6() {
		return fmt.Errorf("%s is an IPv4-mapped address, write it as IPv4", p)
	}
	return nil
}
