package nettest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FRR is a router that runs zebra and bgpd, and bfdd if asked for. Its state lives in a directory of its own, so that many
// run side by side.
type FRR struct {
	// Zebra, BGP and BFD are the daemons; BFD is nil when it was not asked for.
	Zebra, BGP, BFD *Process

	ns  NS
	dir string
}

// StartFRR starts FRR in ns and loads config, written as for an integrated frr.conf. It also starts bfdd if bfd is true.
func StartFRR(t testing.TB, ns NS, bfd bool, config string) *FRR {
	t.Helper()
	r := &FRR{ns: ns, dir: frrDir(t)}
	writeFile(t, r.dir, "vtysh.conf", "") // vtysh complains into its output without one
	r.Zebra = r.start(t, "zebra")
	r.BGP = r.start(t, "bgpd")
	if bfd {
		r.BFD = r.start(t, "bfdd", "--bfdctl", filepath.Join(r.dir, "bfdd.sock"))
	}
	r.Configure(t, config)
	return r
}

// Start starts one more of FRR's daemons, as ospfd.
func (r *FRR) Start(t testing.TB, daemon string) *Process {
	t.Helper()
	return r.start(t, daemon)
}

func (r *FRR) start(t testing.TB, daemon string, args ...string) *Process {
	t.Helper()
	empty := writeFile(t, r.dir, daemon+".conf", "")
	p := r.ns.Start(t, "/usr/lib/frr/"+daemon, append([]string{
		"--config_file", empty, "--pid_file", filepath.Join(r.dir, daemon+".pid"),
		"--socket", filepath.Join(r.dir, "zserv.api"), "--vty_socket", r.dir, "--vty_port", "0", "--log", "stdout",
	}, args...)...)
	Eventually(t, 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(r.dir, daemon+".vty"))
		return err
	})
	return p
}

// frrDir makes a directory that the daemons' user may write to, unlike one of t.TempDir.
func frrDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "frr-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	Run(t, "chown", "frr:frr", dir)
	Run(t, "chmod", "755", dir)
	return dir
}

// RestartBGP starts bgpd anew, after it was stopped or killed, and loads config.
func (r *FRR) RestartBGP(t testing.TB, config string) {
	t.Helper()
	r.BGP.Kill()
	if err := os.Remove(filepath.Join(r.dir, "bgpd.vty")); err != nil {
		t.Fatal(err)
	}
	r.BGP = r.start(t, "bgpd")
	r.Configure(t, config)
}

// Configure runs configuration lines, written as in frr.conf.
func (r *FRR) Configure(t testing.TB, lines string) {
	t.Helper()
	file := writeFile(t, r.dir, "change.conf", lines)
	r.ns.Run(t, "vtysh", "--config_dir", r.dir, "--vty_socket", r.dir, "-f", file)
}

// Vtysh runs a command and returns its output.
func (r *FRR) Vtysh(command string) (string, error) {
	return r.ns.Try("vtysh", "--config_dir", r.dir, "--vty_socket", r.dir, "-c", command)
}

// JSON runs a show command that ends in "json" and reads its output into v.
func (r *FRR) JSON(command string, v any) error {
	out, err := r.Vtysh(command)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), v)
}

// writeFile writes a file and returns its path.
func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
