package file

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

const (
	again     = 10 * time.Millisecond  // until the next look at what is being written
	patience  = 3 * time.Second        // then it is a problem that somebody should see
	againSlow = 250 * time.Millisecond // and looked at less often
	// missing is how long a file must be gone to be deleted: editors rename the old one away before they make the new.
	missing = 50 * time.Millisecond
)

// manifest is one file and what it last said that was good.
type manifest struct {
	stamp    stamp // of what was read
	looked   stamp // at the last look
	objects  []object
	problems []agent.Problem
	wasGood  bool // everything in it was good, at least once
	closed   bool // contents.closed, as last taken over
	writing  time.Time
	gone     time.Time
}

// directory is what the files of a directory say, and remembers what they said when they were good.
type directory struct {
	path      string
	log       *slog.Logger
	manifests map[string]*manifest
	unlisted  string // why the directory cannot be listed; empty: it can
	inForce   map[identity]object
	synced    bool
	errors    uint64
}

// scan looks at all files and reads those that have changed. It says whether anything has changed, and when to look again
// at the latest.
func (d *directory) scan(now time.Time) (changed bool, next time.Duration) {
	next = recheck
	names, err := d.list()
	if err != nil {
		err = withoutPath(err)
		changed = d.unlisted != err.Error()
		if changed {
			d.errors++
			d.unlisted = err.Error()
			d.log.Warn("cannot list the manifests; what was read stays", "error", err)
		}
		for _, m := range d.manifests {
			m.gone = time.Time{} // with a new directory time starts anew
		}
		return changed, relist
	}
	changed = d.unlisted != ""
	d.unlisted = ""
	for _, name := range names {
		c, n := d.look(name, now)
		changed, next = changed || c, min(next, n)
	}
	for name, m := range d.manifests {
		_, listed := slices.BinarySearch(names, name) // os.ReadDir sorts
		switch {
		case listed:
			m.gone = time.Time{}
		case m.gone.IsZero():
			m.gone, next = now, min(next, missing)
		case now.Sub(m.gone) >= missing:
			delete(d.manifests, name)
			d.log.Info("file deleted", "file", name)
			changed = true
		default:
			next = min(next, missing)
		}
	}
	return changed, next
}

func (d *directory) list() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); {
		case strings.HasPrefix(e.Name(), "."), ext != ".yaml" && ext != ".yml" && ext != ".json":
		case e.Type().IsRegular(), e.Type()&fs.ModeSymlink != 0:
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// look reads a file if it has changed.
func (d *directory) look(name string, now time.Time) (changed bool, next time.Duration) {
	m := d.manifests[name]
	if m == nil {
		m = &manifest{}
		d.manifests[name] = m
	}
	path := filepath.Join(d.path, name)
	info, err := os.Stat(path)
	if err == nil && m.stamp == stampOf(info) {
		m.writing = time.Time{}
		return false, recheck
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	var data []byte
	if err == nil {
		data, m.looked, err = readStable(path, m.looked)
	}
	// A symbolic link whose target is not there may be about to be swapped.
	passing := errors.Is(err, errWriting) || errors.Is(err, fs.ErrNotExist)
	switch {
	case passing && m.writing.IsZero():
		m.writing = now
		return false, again
	case passing && now.Sub(m.writing) < patience:
		return false, again
	case err != nil:
		return d.fail(name, m, err), againSlow
	}
	m.writing = time.Time{}
	m.stamp = m.looked
	d.update(name, m, read(name, data))
	return true, recheck
}

// fail records that a file cannot be read; it keeps what it last said.
func (d *directory) fail(name string, m *manifest, err error) (changed bool) {
	p := agent.Problem{Where: name, Reason: "Unreadable", Message: withoutPath(err).Error()}
	if slices.Equal(m.problems, []agent.Problem{p}) {
		return false
	}
	m.stamp = stamp{}
	d.report(m, []agent.Problem{p})
	return true
}

// withoutPath is for messages that name the file or directory already.
func withoutPath(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (d *directory) report(m *manifest, problems []agent.Problem) {
	m.problems = problems
	d.errors += uint64(len(problems))
	for _, p := range problems {
		d.log.Warn("manifest refused", "where", p.Where, "object", p.Object, "reason", p.Reason, "error", p.Message)
	}
}

// update takes over what a file says now. Only a file in which everything is good takes objects away.
func (d *directory) update(name string, m *manifest, c contents) {
	whole := func(reason, message string) {
		d.report(m, append(c.problems, agent.Problem{Where: name, Reason: reason, Message: message}))
	}
	switch {
	case c.empty && (len(m.objects) > 0 || !c.closed): // comments may be all there is, if they replace nothing
		whole("Empty", "holds no object, as a file does that is about to be written; to remove its objects, delete the file")
		return
	case m.closed && !c.closed:
		whole("CutOff", "used to end in a newline and no longer does: taken for cut off; end it in a newline")
		return
	}
	objects := map[identity]bool{}
	var kept []object
	for _, o := range c.objects {
		if d.lostPodCIDRs(o) {
			c.good = false
			c.refused = append(c.refused, o.identity)
			c.problems = append(c.problems, agent.Problem{Object: o.String(), Where: o.where, Reason: "CutOff",
				Message: "has lost its PodCIDRs, which Kubernetes never takes from a Node: taken for cut off; " +
					"to withdraw them, drain or delete the Node"})
			continue
		}
		kept = append(kept, o)
		objects[o.identity] = true
	}
	keep := func(o object) {
		if !objects[o.identity] {
			objects[o.identity] = true
			o.kept = true
			kept = append(kept, o)
		}
	}
	if !c.good {
		for _, o := range m.objects {
			keep(o)
		}
	}
	for _, id := range c.refused {
		if o, ok := d.inForce[id]; ok { // it may have been in another file
			keep(o)
		}
	}
	m.objects = kept
	m.closed = c.closed
	m.wasGood = m.wasGood || c.good
	d.report(m, c.problems)
	d.log.Info("file read", "file", name, "objects", len(c.objects), "problems", len(c.problems))
}

// lostPodCIDRs says whether o is a Node that had PodCIDRs and now has none. The API server never allows that, but a manifest
// that was cut at the end of a line looks like it.
func (d *directory) lostPodCIDRs(o object) bool {
	now, ok := o.value.(*corev1.Node)
	if !ok || len(podCIDRs(now)) > 0 {
		return false
	}
	before, ok := d.inForce[o.identity].value.(*corev1.Node)
	return ok && len(podCIDRs(before)) > 0 && before.UID == now.UID
}

// snapshot joins what the files say. Of two objects of the same kind and name the one that a file says now wins against
// one that is kept, then the one of the file whose object is in force already, then the first by file name.
func (d *directory) snapshot() agent.Snapshot {
	names := slices.Sorted(maps.Keys(d.manifests))
	var s agent.Snapshot
	if d.unlisted != "" {
		s.Problems = append(s.Problems, agent.Problem{Where: d.path, Reason: "Unreadable", Message: d.unlisted})
	}
	inForce := map[identity]object{}
	var order []object
	held := func(name string, o object) bool {
		before, ok := d.inForce[o.identity]
		return ok && !o.kept && before.file == name
	}
	for _, pass := range []func(name string, o object) bool{
		held,
		func(name string, o object) bool { return !o.kept && !held(name, o) },
		func(_ string, o object) bool { return o.kept },
	} {
		for _, name := range names {
			for _, o := range d.manifests[name].objects {
				first, taken := inForce[o.identity]
				switch {
				case !pass(name, o):
				case !taken:
					inForce[o.identity] = o
					order = append(order, o)
				case !o.kept:
					s.Problems = append(s.Problems, agent.Problem{Object: o.String(), Where: o.where, Reason: "Duplicate",
						Message: fmt.Sprintf("is also in %s, which is the one in force", first.where)})
				}
			}
		}
	}
	d.inForce = inForce
	good := d.unlisted == ""
	for _, name := range names {
		good = good && d.manifests[name].wasGood
		s.Problems = append(s.Problems, d.manifests[name].problems...)
	}
	d.synced = d.synced || good
	s.Synced = d.synced
	for _, o := range order {
		add(&s, o.value)
	}
	return s
}

func add(s *agent.Snapshot, value any) {
	switch o := value.(type) {
	case *corev1.Node:
		s.Nodes = append(s.Nodes, *o)
	case *corev1.Secret:
		s.Secrets = append(s.Secrets, *o)
	case *v1alpha1.BGPConfiguration:
		s.Configurations = append(s.Configurations, *o)
	case *v1alpha1.BGPPeer:
		s.Peers = append(s.Peers, *o)
	case *v1alpha1.EgressPolicy:
		s.Policies = append(s.Policies, *o)
	case *v1alpha1.AddressPool:
		s.Pools = append(s.Pools, *o)
	case *v1alpha1.DatacenterNetwork:
		s.Datacenters = append(s.Datacenters, *o)
	case *v1alpha1.NodeRole:
		s.Roles = append(s.Roles, *o)
	case *v1alpha1.StaticRouteExport:
		s.Exports = append(s.Exports, *o)
	case *v1alpha1.RegistryCheck:
		s.Registries = append(s.Registries, *o)
	}
}
