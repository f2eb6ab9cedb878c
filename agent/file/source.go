// Package file reads a directory of manifests: Node and Secret objects as kubectl prints them, and the waymark.io objects.
//
// Bad input loses nothing. A file that cannot be read, is empty or was cut keeps the objects it last had; so does one object
// that is not good, while the good ones beside it change; and only a file in which everything is good takes objects away, or
// one that is deleted. A file is read when nobody on this host has it open for writing, so a copy in progress is never seen,
// however slow. What no reader can tell from an edit is a file that was cut at the end of a line and then closed: replace
// files by mv, which is atomic.
//
// A snapshot is synced from the time that every file has once been good. A file that is broken when the agent starts may
// have held any object, so until then nothing that an earlier agent left may go. Later broken files do not hold anything up.
package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/waymark-bgp/waymark/agent"
)

const (
	settle      = 5 * time.Millisecond  // without an event, before the files are read: changes come in groups
	settleLimit = 30 * time.Millisecond // since the first event, whether or not there are more
	recheck     = 10 * time.Second      // what no event tells, such as a change behind a symbolic link
	relist      = time.Second           // while there is no directory, or no way to watch it
)

// Source reads the manifests of one directory, not of those below it, and follows their changes.
type Source struct {
	directory directory
	notify    func()

	mu       sync.Mutex
	snapshot agent.Snapshot
	errors   uint64
}

// New makes a source for a directory, which need not exist yet. Notify is called after each change of the snapshot, by the
// goroutine of Run.
func New(dir string, log *slog.Logger, notify func()) *Source {
	return &Source{
		directory: directory{
			path:      filepath.Clean(dir),
			log:       log.With("directory", dir),
			manifests: map[string]*manifest{},
			unlisted:  "has not been read yet",
		},
		notify: notify,
	}
}

// Snapshot returns what was last read. Before Run it is empty and not synced.
func (s *Source) Snapshot() agent.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

// Errors counts the problems met since the start, each once for each time its file was read.
func (s *Source) Errors() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errors
}

// Run reads the directory and follows its changes until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	path, err := filepath.Abs(s.directory.path)
	if err != nil {
		return fmt.Errorf("find the directory of manifests: %w", err)
	}
	s.directory.path = path
	w := watch{path: path}
	if err := w.open(); err != nil {
		s.directory.log.Warn("cannot watch for changes; looking every second", "error", err)
	}
	defer w.close()
	for {
		watching := w.renew()
		changed, next := s.directory.scan(time.Now())
		if changed {
			s.publish()
		}
		if !watching {
			next = min(next, relist)
		}
		if !s.wait(ctx, &w, next) {
			return nil
		}
	}
}

// wait returns when it is time to look: after a group of events, or at the latest. It is false when ctx has ended.
func (s *Source) wait(ctx context.Context, w *watch, latest time.Duration) bool {
	timer, limit := time.NewTimer(latest), time.NewTimer(settleLimit)
	defer timer.Stop()
	limit.Stop()
	defer limit.Stop()
	for waiting := false; ; {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-limit.C:
			return true
		case err := <-w.errors():
			s.directory.log.Warn("events were lost; looking at all files", "error", err)
			return true
		case e := <-w.events():
			if !s.take(w, e) {
				continue
			}
			if timer.Reset(settle); !waiting {
				waiting = true
				limit.Reset(settleLimit)
			}
		}
	}
}

// take notes what an event is about, and says whether it is about us.
func (s *Source) take(w *watch, e fsnotify.Event) bool {
	switch w.path {
	case e.Name:
		w.watched = nil
		return true
	case filepath.Dir(e.Name):
		if m := s.directory.manifests[filepath.Base(e.Name)]; m != nil {
			m.stamp = stamp{} // two changes within one tick of the clock have the same stamp
		}
		return true
	}
	return false
}

func (s *Source) publish() {
	snapshot := s.directory.snapshot()
	for _, p := range agent.Check(snapshot) {
		// Whatever concerns the node itself, and peers with it, the agent finds when it decides.
		if kind, _, _ := strings.Cut(p.Object, "/"); kind == "AddressPool" || kind == "EgressPolicy" || kind == "NodeRole" || kind == "StaticRouteExport" || kind == "RegistryCheck" {
			snapshot.Problems = append(snapshot.Problems, p)
		}
	}
	s.mu.Lock()
	s.snapshot, s.errors = snapshot, s.directory.errors
	s.mu.Unlock()
	s.notify()
}

// watch is on a directory that may come, go and be replaced, and so on its parent too.
type watch struct {
	path    string
	watcher *fsnotify.Watcher // nil: there is none to be had
	watched os.FileInfo       // the directory that the watch is on
}

func (w *watch) open() (err error) {
	w.watcher, err = fsnotify.NewWatcher()
	return err
}

func (w *watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // nothing is lost by an error
	}
}

// events are never ready without a watcher.
func (w *watch) events() <-chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *watch) errors() <-chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}

// renew sees to it that the directory that is there now is watched, and says whether it is.
func (w *watch) renew() bool {
	if w.watcher == nil {
		return false
	}
	info, err := os.Stat(w.path)
	if err == nil && w.watched != nil && os.SameFile(info, w.watched) {
		return true
	}
	w.watched = nil
	_ = w.watcher.Remove(w.path) // it may not be there
	if w.watcher.Add(filepath.Dir(w.path)) != nil || err != nil || w.watcher.Add(w.path) != nil {
		return false
	}
	w.watched = info
	return true
}
