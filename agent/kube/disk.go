package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/waymark-bgp/waymark/agent"
)

// disk keeps the last good snapshot in a file that only its owner can read: it may hold Secrets.
type disk struct{ path, node string }

type record struct {
	Node     string         `json:"node"`
	Taken    time.Time      `json:"taken"`
	Snapshot agent.Snapshot `json:"snapshot"`
}

// save writes the file whole. What the problems were does not outlive the agent that met them.
func (d disk) save(snapshot agent.Snapshot, now time.Time) error {
	snapshot.Problems = nil
	text, err := json.Marshal(record{Node: d.node, Taken: now, Snapshot: snapshot})
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(d.path), "."+filepath.Base(d.path))
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		_ = os.Remove(temporary) // on a full disk it would take what others need
		return err
	}
	return os.Rename(temporary, d.path)
}

// load returns the snapshot, restored and synced; one that is not synced if there is no file.
func (d disk) load() (agent.Snapshot, error) {
	text, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return agent.Snapshot{}, nil
	}
	if err != nil {
		return agent.Snapshot{}, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return agent.Snapshot{}, fmt.Errorf("read %s: %w", d.path, err)
	}
	if r.Node != d.node {
		return agent.Snapshot{}, fmt.Errorf("%s is of node %q", d.path, r.Node)
	}
	if r.Taken.IsZero() || !r.Snapshot.Synced {
		return agent.Snapshot{}, fmt.Errorf("read %s: it is not complete", d.path)
	}
	r.Snapshot.Restored = r.Taken
	return r.Snapshot, nil
}
