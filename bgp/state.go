package bgp

import (
	"net/netip"
	"time"
)

// SessionState is the state of RFC 4271 section 8.2.2.
type SessionState string

// The states of a session.
const (
	Idle        SessionState = "Idle"
	Connect     SessionState = "Connect"
	Active      SessionState = "Active"
	OpenSent    SessionState = "OpenSent"
	OpenConfirm SessionState = "OpenConfirm"
	Established SessionState = "Established"
)

// PeerState is what is known of one session now.
type PeerState struct {
	Name            string        `json:"name"`
	Address         netip.Addr    `json:"address"`
	ASN             uint32        `json:"asn"` // as configured
	State           SessionState  `json:"state"`
	Since           time.Time     `json:"since"`               // of the last change of State to or from Established
	Flaps           uint64        `json:"flaps"`               // times it left Established since the speaker started
	Received        int           `json:"received"`            // prefixes, all families, before filters
	Accepted        int           `json:"accepted"`            // prefixes that passed the filters
	Announced       int           `json:"announced"`           // prefixes sent
	RouterID        netip.Addr    `json:"routerID,omitzero"`   // the peer's
	HoldTime        time.Duration `json:"holdTime"`            // negotiated; 0 while not established
	Families        []Family      `json:"families,omitempty"`  // negotiated
	GracefulRestart bool          `json:"gracefulRestart"`     // the peer offered RFC 4724
	EndOfRIB        bool          `json:"endOfRIB"`            // the peer has sent all it has, in every negotiated family
	LastError       string        `json:"lastError,omitempty"` // in plain words: "peer says AS 64514, configured 64512"
}
