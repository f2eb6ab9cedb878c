package audit

import "net/netip"

// Question is about the first packet of a connection.
type Question struct {
	Pod, To  netip.Addr
	Protocol uint8  // IP protocol number
	Port     uint16 // 0: not known, or the protocol has none
}

// Version is 4 or 6.
func (q Question) Version() int {
	if q.Pod.Is4() {
		return 4
	}
	return 6
}

// Answer says what becomes of it.
type Answer struct {
	Result
	To      netip.Addr `json:"to"` // after the translation of the destination
	Port    uint16     `json:"port,omitempty"`
	Source  netip.Addr `json:"source,omitzero"` // that it leaves with; none if that is not known, or one of several
	In      string     `json:"in,omitempty"`    // device that it comes from
	Out     string     `json:"out,omitempty"`   // device that it leaves by
	Gateway netip.Addr `json:"gateway,omitzero"`
	Notes   []string   `json:"notes,omitempty"` // what the answer supposes
}
