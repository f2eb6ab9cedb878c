package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Memory is what one agent leaves to the next on the same boot: a small file in the run directory.
type Memory struct {
	Path   string // the file
	BootID string // of the kernel; what an earlier boot has left means nothing
}

// Remembered is what the agent before this one has left.
type Remembered struct {
	Restarted bool           // there was one, on this boot, and it did not withdraw
	Announced []netip.Prefix // what it announced last
	Egress    Egress
}

// Egress is what must be the same after a restart: marks of connections that go on, and the gateways that they go to.
type Egress struct {
	Choices  map[uint32]Choice `json:"choices,omitempty"` // by VNI
	Marks    []MarkedWay       `json:"marks,omitempty"`
	Instance string            `json:"instance,omitempty"` // of the waymark-bfd that was there last
	Stopped  time.Time         `json:"stopped,omitzero"`   // when the agent ended; zero: it was killed
	// Failed says how often, by that waymark-bfd, the session with a gateway had failed when it was last up.
	Failed map[netip.Addr]uint64 `json:"failed,omitempty"`
	// Returned: the node says of itself that others may own what it owned, so what comes new is not its own either.
	Returned bool `json:"returned,omitempty"`
}

// MarkedWay is a way with its mark.
type MarkedWay struct {
	Way
	Mark uint16 `json:"mark"`
}

type record struct {
	BootID    string         `json:"bootID"`
	Announced []netip.Prefix `json:"announced"`
	Egress    Egress         `json:"egress,omitzero"`
}

// BootID reads the kernel's random number of this boot.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// Load returns nothing when there is no file, or one that cannot be read: then this is a first start.
func (m Memory) Load() Remembered {
	text, err := os.ReadFile(m.Path)
	if err != nil {
		return Remembered{}
	}
	var r record
	if json.Unmarshal(text, &r) != nil || r.BootID != m.BootID {
		return Remembered{}
	}
	return Remembered{Restarted: true, Announced: r.Announced, Egress: r.Egress}
}

// Save writes the file whole, and only when it would change.
func (m Memory) Save(announced []netip.Prefix, egress Egress) error {
	text, err := json.Marshal(record{BootID: m.BootID, Announced: announced, Egress: egress})
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(m.Path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	temporary := filepath.Join(filepath.Dir(m.Path), "."+filepath.Base(m.Path))
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("remember what is in force: %w", err)
	}
	return os.Rename(temporary, m.Path)
}

// Forget removes the file: the next agent starts as on a fresh boot.
func (m Memory) Forget() { _ = os.Remove(m.Path) }
