package nettest

import (
	"path/filepath"
	"testing"
	"time"
)

// BIRD is a router that runs BIRD 2.
type BIRD struct {
	*Process

	ns  NS
	dir string
}

// StartBIRD starts BIRD in ns with the text of its configuration file.
func StartBIRD(t testing.TB, ns NS, config string) *BIRD {
	t.Helper()
	b := &BIRD{ns: ns, dir: t.TempDir()}
	file := writeFile(t, b.dir, "bird.conf", config)
	b.Process = ns.Start(t, "bird", "-f", "-c", file, "-s", b.socket(), "-P", filepath.Join(b.dir, "bird.pid"))
	Eventually(t, 10*time.Second, func() error {
		_, err := b.Birdc("show status")
		return err
	})
	return b
}

// Configure replaces the configuration; sessions that it does not change stay.
func (b *BIRD) Configure(t testing.TB, config string) {
	t.Helper()
	file := writeFile(t, b.dir, "bird.conf", config)
	if _, err := b.Birdc("configure \"" + file + "\""); err != nil {
		t.Fatal(err)
	}
}

// Birdc runs a command and returns its output.
func (b *BIRD) Birdc(command string) (string, error) {
	return b.ns.Try("birdc", "-s", b.socket(), command)
}

func (b *BIRD) socket() string { return filepath.Join(b.dir, "bird.ctl") }
