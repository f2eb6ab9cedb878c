package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
}

type record struct {
	BootID    string         `json:"bootID"`
	Announced []netip.Prefix `json:"announced"`
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
	return Remembered{Restarted: true, Announced: r.Announced}
}

// Save writes the file whole, and only when it would change.
func (m Memory) Save(announced []netip.Prefix) error {
	if have := m.Load(); have.Restarted && slices.Equal(have.Announced, announced) {
		return nil
	}
	text, err := json.Marshal(record{BootID: m.BootID, Announced: announced})
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(m.Path), "."+filepath.Base(m.Path))
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("remember what is announced: %w", err)
	}
	return os.Rename(temporary, m.Path)
}

// Forget removes the file: the next agent starts as on a fresh boot.
func (m Memory) Forget() { _ = os.Remove(m.Path) }
