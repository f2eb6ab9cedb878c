package nettest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// OpenBGPD is a router that runs OpenBGPD.
type OpenBGPD struct {
	*Process

	ns     NS
	socket string
}

// StartOpenBGPD starts OpenBGPD in ns with the text of its configuration file, to which the control socket is added.
func StartOpenBGPD(t testing.TB, ns NS, config string) *OpenBGPD {
	t.Helper()
	// The daemon's processes chroot to the home of their user, which an init script makes.
	if err := os.MkdirAll("/run/openbgpd", 0o755); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := &OpenBGPD{ns: ns, socket: filepath.Join(dir, "bgpd.sock")}
	file := writeFile(t, dir, "bgpd.conf", fmt.Sprintf("socket %q\n%s", o.socket, config))
	o.Process = ns.Start(t, "/usr/sbin/bgpd", "-d", "-f", file)
	Eventually(t, 10*time.Second, func() error {
		_, err := o.Bgpctl("show")
		return err
	})
	return o
}

// Bgpctl runs a command and returns its output.
func (o *OpenBGPD) Bgpctl(args ...string) (string, error) {
	return o.ns.Try("bgpctl", append([]string{"-s", o.socket}, args...)...)
}

// JSON runs a show command with output as JSON and reads it into v.
func (o *OpenBGPD) JSON(v any, args ...string) error {
	out, err := o.Bgpctl(append([]string{"-j"}, args...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), v)
}
