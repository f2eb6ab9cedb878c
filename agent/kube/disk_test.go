package kube

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// readSource is a source whose lists have been read, and which watches nothing. Its policy may select pods.
func readSource(t *testing.T, file string, selecting bool) *Source {
	t.Helper()
	s := New(nil, "node-1", file, slog.New(slog.DiscardHandler), func() {})
	for _, r := range s.wanted(agent.Snapshot{}) {
		s.lists[r] = &list{request: r, synced: true, changed: s.changed, good: map[string]metav1.Object{}, bad: map[string][]agent.Problem{}}
	}
	policy := &v1alpha1.EgressPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	if selecting {
		policy.Spec.Pods = &v1alpha1.PodSelection{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
	}
	s.lists[request{kind: "EgressPolicy"}].good["p"] = policy
	return s
}

// TestPolicyThatSelectsIsNotPublishedWithoutPods: it would be in force for nobody.
func TestPolicyThatSelectsIsNotPublishedWithoutPods(t *testing.T) {
	s := readSource(t, filepath.Join(t.TempDir(), "snapshot.json"), true)
	if next := s.update(time.Now()); next > 0 || s.Snapshot().Synced {
		t.Errorf("synced %v, next look in %v", s.Snapshot().Synced, next)
	}
}

// TestOnlyGoodSnapshotsAreKept: one that has come a moment after another was saved is still unsaved when something is missing.
func TestOnlyGoodSnapshotsAreKept(t *testing.T) {
	s := readSource(t, filepath.Join(t.TempDir(), "snapshot.json"), false)
	now := time.Now()
	s.saved = now
	s.update(now)
	s.lists[request{kind: "AddressPool"}].synced = false
	s.update(now)
	s.update(now.Add(2 * patience))
	if s.Snapshot().Synced {
		t.Error("synced though a list is missing")
	}
	s.save()
	kept, err := s.disk.load()
	if err != nil || !kept.Synced || len(kept.Policies) != 1 {
		t.Errorf("kept: synced %v, %d policies, %v", kept.Synced, len(kept.Policies), err)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	large := agent.Snapshot{Synced: true, Secrets: []corev1.Secret{{Data: map[string][]byte{"k": []byte(strings.Repeat("x", 100_000))}}}}
	if err := (disk{path: filepath.Join(dir, "snapshot.json"), node: "n"}).save(large, time.Now()); err == nil {
		t.Error("saved more than there is space for")
	}
	if err := os.WriteFile(filepath.Join(dir, "agent.json"), []byte(strings.Repeat("x", 10_000)), 0o600); err != nil {
		t.Errorf("nothing is left for others: %v", err)
	}
}
