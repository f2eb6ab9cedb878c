package ipam

import (
	"fmt"
	"net/netip"
)

// Reason is why a policy has not got what it wants.
type Reason string

// The reasons.
const (
	Outside   Reason = "OutsidePools" // the address is in no pool, and there are pools
	Taken     Reason = "Taken"        // another policy goes first, with other gateways
	InUse     Reason = "InUse"        // somebody else has the address
	Exhausted Reason = "Exhausted"    // the pool has no address left
	NoGateway Reason = "NoGateway"    // no node is selected
	NoFamily  Reason = "NoFamily"     // no node that is selected has an address of the family
)

// Refusal is an address that a policy has not got, or that is of no use to it.
type Refusal struct {
	Policy  string
	Address netip.Addr // invalid: all of them
	Reason  Reason
	Other   string // who has it, with Taken and InUse
	IPv6    bool   // the family that there is no address of, with Exhausted
	Kept    bool   // the policy had it before, and it stays in force
}

// String tells it to whoever has written the policy.
func (r Refusal) String() string {
	switch r.Reason {
	case Outside:
		return fmt.Sprintf("%v is in no AddressPool with use: Egress: not in force", r.Address)
	case Taken:
		return fmt.Sprintf("%v is of %s, which has another gateway.nodeSelector and goes first by age and name: not in force here", r.Address, r.Other)
	case InUse:
		if r.Kept {
			return fmt.Sprintf("%v is of %s now: it stays in force, because it was there before", r.Address, r.Other)
		}
		return fmt.Sprintf("%v is of %s: not in force", r.Address, r.Other)
	case Exhausted:
		return fmt.Sprintf("the pool has no %s address left", family(r.IPv6))
	case NoGateway:
		return "no node matches gateway.nodeSelector: the fallback is in force"
	}
	if !r.Address.IsValid() {
		return "no node that matches gateway.nodeSelector has an address: the fallback is in force"
	}
	return fmt.Sprintf("%v: no node that matches gateway.nodeSelector has an %s address: the fallback is in force", r.Address, family(r.Address.Is6()))
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

func (a *assigner) refuse(r Refusal) { a.result.Refusals = append(a.result.Refusals, r) }
