package bfd

import "fmt"

// State of a session, RFC 5880 section 4.1.
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = [...]string{AdminDown: "AdminDown", Down: "Down", Init: "Init", Up: "Up"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText writes the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a state.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown BFD state %q", text)
}

// Diag is the reason for a session's last change of state, RFC 5880 section 4.1. In JSON it is its number.
type Diag uint8

// The codes that this package sets; String knows the others.
const (
	DiagNone             Diag = 0
	DiagTimeExpired      Diag = 1
	DiagNeighborDown     Diag = 3
	DiagConcatenatedPath Diag = 6
	DiagAdministratively Diag = 7
)

var diagNames = [...]string{
	"no diagnostic",
	"control detection time expired",
	"echo function failed",
	"neighbor signaled session down",
	"forwarding plane reset",
	"path down",
	"concatenated path down",
	"administratively down",
	"reverse concatenated path down",
}

func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}
