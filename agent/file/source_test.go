package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// follow runs a source on a directory until the test ends.
func follow(t testing.TB, dir string) (*Source, <-chan struct{}) {
	t.Helper()
	notified := make(chan struct{}, 1)
	s := New(dir, slog.New(slog.DiscardHandler), func() {
		select {
		case notified <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, notified
}

func expect(t testing.TB, s *Source, want string) agent.Snapshot {
	t.Helper()
	var got agent.Snapshot
	nettest.Eventually(t, 15*time.Second, func() error {
		if got = s.Snapshot(); summary(got) != want {
			return fmt.Errorf("in force %q, want %q, problems %v", summary(got), want, got.Problems)
		}
		return nil
	})
	return got
}

func expectProblem(t testing.TB, s *Source, want string) {
	t.Helper()
	nettest.Eventually(t, 15*time.Second, func() error {
		problems := s.Snapshot().Problems
		if !slices.ContainsFunc(problems, func(p agent.Problem) bool { return strings.HasPrefix(p.String(), want) }) {
			return fmt.Errorf("problems %v, want %q", problems, want)
		}
		return nil
	})
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// must is for the steps of a story that cannot fail.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesComeChangeAndGo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "peers.yaml")
	s, _ := follow(t, dir)
	nettest.Eventually(t, 15*time.Second, func() error {
		if !s.Snapshot().Synced {
			return fmt.Errorf("an empty directory is read, but not synced")
		}
		return nil
	})
	put(t, path, peerAS("rr1", 1))
	put(t, filepath.Join(dir, ".hidden.yaml"), peerAS("rr2", 2))
	put(t, filepath.Join(dir, "readme.txt"), "nothing")
	must(t, os.MkdirAll(filepath.Join(dir, "below.yaml"), 0o755))
	put(t, filepath.Join(dir, "below.yaml", "a.yaml"), peerAS("rr3", 3))
	expect(t, s, "rr1:1")
	put(t, path, peerAS("rr1", 2)) // the same size, at once
	expect(t, s, "rr1:2")
	put(t, filepath.Join(dir, "node.json"), `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDR":"10.244.1.0/24"}}`)
	expect(t, s, "n1:10.244.1.0/24 rr1:2")
	must(t, os.Rename(path, filepath.Join(dir, "other.yml")))
	must(t, os.Remove(filepath.Join(dir, "node.json")))
	if got := expect(t, s, "rr1:2"); len(got.Problems) > 0 || s.Errors() > 0 {
		t.Errorf("%d errors, problems %v", s.Errors(), got.Problems)
	}
	must(t, os.Remove(filepath.Join(dir, "other.yml")))
	expect(t, s, "")
}

func TestObjectsBesideEachOther(t *testing.T) {
	dir := t.TempDir()
	s, _ := follow(t, dir)
	pool := "apiVersion: waymark.io/v1alpha1\nkind: AddressPool\nmetadata: {name: %s}\nspec: {cidrs: [%s], use: Egress}\n"
	put(t, filepath.Join(dir, "a.yaml"), fmt.Sprintf(pool, "a", "10.132.2.240/29"))
	put(t, filepath.Join(dir, "b.yaml"), fmt.Sprintf(pool, "b", "10.132.2.0/24"))
	expectProblem(t, s, "AddressPool/b: Overlap: 10.132.2.0/24 of AddressPool b overlaps 10.132.2.240/29 of AddressPool a")
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	nettest.Eventually(t, 15*time.Second, func() error {
		if problems := s.Snapshot().Problems; len(problems) > 0 {
			return fmt.Errorf("problems %v", problems)
		}
		return nil
	})
}

// TestSlowWriter: what is written so far is good by itself, again and again, and yet is not taken for the file.
func TestSlowWriter(t *testing.T) {
	dir := t.TempDir()
	path, barrier := filepath.Join(dir, "peers.yaml"), filepath.Join(dir, "barrier.yaml")
	put(t, path, peerAS("rr1", 1)+"---\n"+peerAS("rr2", 1))
	s, _ := follow(t, dir)
	expect(t, s, "rr1:1 rr2:1")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	for i, part := range []string{"", peerAS("rr1", 2), "---\n" + peerAS("rr2", 2)} {
		_, err := f.WriteString(part)
		must(t, err)
		put(t, barrier, peerAS("barrier", i+1)) // when this is seen, the other has been looked at
		expect(t, s, fmt.Sprintf("barrier:%d rr1:1 rr2:1", i+1))
	}
	if s.Errors() > 0 {
		t.Errorf("a file being written is no error: %v", s.Snapshot().Problems)
	}
	must(t, f.Close())
	expect(t, s, "barrier:3 rr1:2 rr2:2")

	f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("# more\n")
	must(t, err)
	expectProblem(t, s, "peers.yaml: Unreadable: is open for writing") // after a while somebody should see it
	must(t, f.Close())
	nettest.Eventually(t, 15*time.Second, func() error {
		if p := s.Snapshot().Problems; len(p) > 0 {
			return fmt.Errorf("problems stay: %v", p)
		}
		return nil
	})
}

// TestWithoutLeases: on filesystems that have none a change takes one look more. Here the kernel refuses the lease of a file
// of another user, as the thread that reads has lost the capability for it.
func TestWithoutLeases(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "peers.yaml")
	put(t, path, peerAS("rr1", 1))
	must(t, os.Chown(path, 1000, 1000))
	s := New(dir, slog.New(slog.DiscardHandler), func() {})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := dropCapability(unix.CAP_LEASE); err != nil {
			done <- err
			return
		}
		if _, _, err := readStable(path, stamp{}); !errors.Is(err, errWriting) {
			done <- fmt.Errorf("a file never looked at before is read without a lease: %w", err)
			return
		}
		done <- s.Run(ctx)
	}()
	for as := 1; as < 5; as++ {
		put(t, path, peerAS("rr1", as))
		expect(t, s, fmt.Sprintf("rr1:%d", as))
	}
	cancel()
	must(t, <-done)
}

func dropCapability(capability int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	return unix.Capset(&header, &data[0])
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "peers.yaml")
	put(t, path, peerAS("rr1", 1))
	s, _ := follow(t, dir)
	expect(t, s, "rr1:1")
	for problem, spoiled := range map[string]func(path string) error{
		"peers.yaml: Unreadable: is larger than 128 MiB": func(path string) error {
			put(t, path, "")
			return os.Truncate(path, maxSize+1)
		},
		"peers.yaml: Unreadable: no such file or directory": func(path string) error { return os.Symlink("nowhere", path) },
		"peers.yaml: Unreadable: is not a regular file":     func(path string) error { return os.Symlink("/dev/zero", path) },
		"peers.yaml: Empty: ":                               func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"peers.yaml:1: Syntax: ":                            func(path string) error { return os.WriteFile(path, []byte("{\n"), 0o644) },
	} {
		counted := s.Errors()
		must(t, spoiled(path+".new"))
		must(t, os.Rename(path+".new", path))
		expectProblem(t, s, problem)
		if summary(s.Snapshot()) != "rr1:1" || s.Errors() <= counted {
			t.Errorf("%s: in force %q, %d errors", problem, summary(s.Snapshot()), s.Errors())
		}
	}
	must(t, os.Remove(path))
	put(t, path, peerAS("rr1", 2))
	if got := expect(t, s, "rr1:2"); len(got.Problems) > 0 || s.Errors() == 0 {
		t.Errorf("%d errors, problems %v", s.Errors(), got.Problems)
	}
}

// TestEditors: the ways in which programs replace a file, none of which is a deletion.
func TestEditors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "peers.yaml")
	for as, save := range []func(string){
		func(text string) { put(t, path, text) },
		func(text string) { // write beside, rename over
			put(t, path+".tmp", text)
			must(t, os.Rename(path+".tmp", path))
		},
		func(text string) { // rename away, write anew
			must(t, os.Rename(path, path+"~"))
			put(t, path, text)
		},
		func(text string) { // remove, write anew
			must(t, os.Remove(path))
			put(t, path, text)
		},
	} {
		put(t, path, peerAS("rr1", 100))
		s := New(dir, slog.New(slog.DiscardHandler), nil)
		lost := make(chan string, 1)
		ready := make(chan struct{}, 100)
		s.notify = func() {
			if now := s.Snapshot(); len(now.Peers) != 1 || len(now.Problems) > 0 {
				select {
				case lost <- fmt.Sprintf("%q %v", summary(now), now.Problems):
				default:
				}
			}
			ready <- struct{}{}
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-ready
		for i := range 20 {
			want := 1000*(as+1) + i
			start := time.Now()
			save(peerAS("rr1", want))
			took := time.Since(start)
			expect(t, s, fmt.Sprintf("rr1:%d", want))
			select {
			case l := <-lost:
				if took < missing { // else this machine was too busy to be an editor: the file really was gone
					t.Errorf("way %d: on the way there was %s", as, l)
				}
			default:
			}
		}
		cancel()
		must(t, <-done)
	}
}

// TestConfigMapMount replaces files as the kubelet does: they are links through a link to a directory, which is swapped.
func TestConfigMapMount(t *testing.T) {
	dir := t.TempDir()
	version := func(n int) {
		name := fmt.Sprintf("..v%d", n)
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		put(t, filepath.Join(dir, name, "peers.yaml"), peerAS("rr1", n))
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", n-1))))
	}
	version(1)
	must(t, os.Symlink("..data/peers.yaml", filepath.Join(dir, "peers.yaml")))
	s, _ := follow(t, dir)
	for n := 1; n < 10; n++ {
		if n > 1 {
			version(n)
		}
		if got := expect(t, s, fmt.Sprintf("rr1:%d", n)); len(got.Problems) > 0 {
			t.Errorf("problems %v", got.Problems)
		}
	}
}

// TestDirectoryComesAndGoes: without the directory what it said stays, and a new one in its place is followed.
func TestDirectoryComesAndGoes(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "manifests")
	fill := func(at string, as int) {
		must(t, os.Mkdir(at, 0o755))
		put(t, filepath.Join(at, "peers.yaml"), peerAS("rr1", as))
	}
	s, _ := follow(t, dir)
	expectProblem(t, s, dir+": Unreadable: ")
	if s.Snapshot().Synced {
		t.Error("synced with a directory that never was there")
	}
	fill(dir, 1)
	if got := expect(t, s, "rr1:1"); !got.Synced {
		t.Error("not synced")
	}
	must(t, os.RemoveAll(dir))
	expectProblem(t, s, dir+": Unreadable: ")
	expect(t, s, "rr1:1")
	fill(dir, 2)
	expect(t, s, "rr1:2")
	put(t, filepath.Join(dir, "peers.yaml"), peerAS("rr1", 3))
	expect(t, s, "rr1:3")

	must(t, os.RemoveAll(dir)) // now a link, swapped between two directories
	for as := 4; as < 8; as++ {
		at := fmt.Sprintf("%s.%d", dir, as)
		fill(at, as)
		must(t, os.Symlink(at, dir+".tmp"))
		must(t, os.Rename(dir+".tmp", dir))
		expect(t, s, fmt.Sprintf("rr1:%d", as))
	}
}

// TestParentComesLater has nothing to watch at first.
func TestParentComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, _ := follow(t, dir)
	expectProblem(t, s, dir+": Unreadable: ")
	must(t, os.MkdirAll(dir, 0o755))
	put(t, filepath.Join(dir, "peers.yaml"), peerAS("rr1", 1))
	expect(t, s, "rr1:1")
}

// TestWatchFollowsThePath: when more than the directory itself is replaced no event tells, but the next look does.
func TestWatchFollowsThePath(t *testing.T) {
	top := t.TempDir()
	w := watch{path: filepath.Join(top, "etc", "manifests")}
	must(t, os.MkdirAll(w.path, 0o755))
	must(t, w.open())
	defer w.close()
	w.renew()
	must(t, os.Rename(filepath.Join(top, "etc"), filepath.Join(top, "old")))
	must(t, os.MkdirAll(w.path, 0o755))
	if !w.renew() {
		t.Fatal("the new directory is not watched")
	}
	put(t, filepath.Join(w.path, "peers.yaml"), peer)
	for deadline := time.After(15 * time.Second); ; {
		select {
		case e := <-w.events():
			if e.Name == filepath.Join(w.path, "peers.yaml") {
				return
			}
		case <-deadline:
			t.Fatal("no event")
		}
	}
}

// TestSameStamp: where the clock of the filesystem is coarse a change may not show but by its event.
func TestSameStamp(t *testing.T) {
	s := New(t.TempDir(), slog.New(slog.DiscardHandler), func() {})
	path := filepath.Join(s.directory.path, "peers.yaml")
	put(t, path, peerAS("rr1", 1))
	s.directory.scan(time.Now())
	put(t, path, peerAS("rr1", 2))
	info, err := os.Stat(path)
	must(t, err)
	s.directory.manifests["peers.yaml"].stamp = stampOf(info)
	s.take(&watch{path: s.directory.path}, fsnotify.Event{Name: path, Op: fsnotify.Write})
	s.directory.scan(time.Now())
	if got := summary(s.directory.snapshot()); got != "rr1:2" {
		t.Errorf("in force %q", got)
	}
}

// BenchmarkChange is the time from the start of a change to the call of notify with it in force.
func BenchmarkChange(b *testing.B) {
	for name, save := range map[string]func(testing.TB, string, string){
		"rename": func(t testing.TB, path, text string) {
			put(t, path+".tmp", text)
			must(t, os.Rename(path+".tmp", path))
		},
		"inplace": put,
	} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			path := filepath.Join(dir, "nodes.yaml")
			s, notified := follow(b, dir)
			text := string(load(b, "nodes.yaml"))
			var times []time.Duration
			for i := range b.N {
				cidr := fmt.Sprintf("10.%d.%d.0/24", i/256%256, i%256)
				start := time.Now()
				save(b, path, strings.ReplaceAll(text, "10.244.2.0/24", cidr))
				for range notified {
					if strings.Contains(summary(s.Snapshot()), "n2:"+cidr) {
						break
					}
				}
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkNodes reads 5,000 nodes.
func BenchmarkNodes(b *testing.B) {
	all := load(b, "nodes.yaml")
	one := string(all[strings.Index(string(all), "- apiVersion"):strings.LastIndex(string(all), "- apiVersion")])
	image := "    images:\n    - names:\n      - registry.k8s.io/pause:3.9\n      sizeBytes: 321520\n"
	var text strings.Builder
	text.WriteString("apiVersion: v1\nitems:\n")
	for i := range 5000 {
		text.WriteString(strings.NewReplacer("name: n1", fmt.Sprintf("name: n%d", i), image, image+
			strings.Repeat(strings.TrimPrefix(image, "    images:\n"), 30)).Replace(one))
	}
	text.WriteString("kind: List\n")
	data := []byte(text.String())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if c := read("nodes.yaml", data); len(c.objects) != 5000 {
			b.Fatal(len(c.objects), c.problems)
		}
	}
}
