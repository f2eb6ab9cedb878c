package interop_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/export"
)

// TestMendLinux has the kernel do what the commands say.
func TestMendLinux(t *testing.T) {
	newRack(t)
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := disordered(t, "linux", rand.New(rand.NewPCG(seed, 1)))
			nettest.Run(t, "ip", "-batch", file(t, d.running))
			d.mend(t, "linux", kernelRouter{}, false)
			nettest.Run(t, "ip", "route", "flush", "proto", "static")
			nettest.Run(t, "ip", "-6", "route", "flush", "proto", "static")
		})
	}
}

type kernelRouter struct{}

func (kernelRouter) enter(t testing.TB, line string) { nettest.Run(t, "ip", "-batch", file(t, line)) }
func (kernelRouter) show(t testing.TB) string {
	return nettest.Run(t, "ip", "route") + nettest.Run(t, "ip", "-6", "route")
}

// TestMendFRR has the daemon do what the commands say.
func TestMendFRR(t *testing.T) {
	newRack(t)
	vtysh := startFRR(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := frrRouter(vtysh)
			d := disordered(t, "frr", rand.New(rand.NewPCG(seed, 2)))
			r.enter(t, d.running)
			d.mend(t, "frr", r, false)
			// What the daemon says it has is what the kernel does. VRFs there are none.
			if d.want[0].VRF == "" {
				nettest.Eventually(t, 10*time.Second, func() error {
					inKernel := kernel(t, "main")
					for _, w := range d.want {
						if line := fmt.Sprintf("%s %s metric 20", w.Prefix, w.NextHop); !slices.Contains(inKernel, line) {
							return fmt.Errorf("no %s in\n%s", line, strings.Join(inKernel, "\n"))
						}
					}
					return nil
				})
			}
			for _, s := range parse(t, "frr", r.show(t)) {
				undo, err := export.RemoveStatic("frr", []export.Static{s}, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.enter(t, undo)
			}
		})
	}
}

type frrRouter func(t testing.TB, args ...string) string

func (vtysh frrRouter) enter(t testing.TB, text string) {
	t.Helper()
	if out := vtysh(t, "-f", file(t, text)); strings.Contains(out, "%") { // "% Unknown command"
		t.Fatalf("%s\nof\n%s", out, text)
	}
}
func (vtysh frrRouter) show(t testing.TB) string { return vtysh(t, "-c", "show running-config") }

// TestMendOthers has simple models of the other routers do what the commands say, after what their vendors write about them.
func TestMendOthers(t *testing.T) {
	for _, dialect := range modelled() {
		t.Run(dialect, func(t *testing.T) {
			for seed := range uint64(40) {
				d := disordered(t, dialect, rand.New(rand.NewPCG(seed, 3)))
				r := modelOf(dialect)
				for line := range strings.Lines(d.running) {
					if dialect == "openbsd" {
						line = strings.Replace(line, " add ", " add -mpath ", 1)
					}
					r.enter(t, line)
				}
				d.mend(t, dialect, r, dialect == "juniper-junos" || dialect == "vyos")
			}
		})
	}
}

// TestMendWholes replaces what is there by an export.
func TestMendWholes(t *testing.T) {
	for _, dialect := range wholes {
		t.Run(dialect, func(t *testing.T) {
			d := disordered(t, dialect, rand.New(rand.NewPCG(1, 4)))
			difference := export.Diff(d.want, nil, ranges)
			if _, err := difference.Fix(dialect); !errors.Is(err, export.ErrNoCommand) {
				t.Errorf("commands: %v", err)
			}
			whole, err := export.Render(dialect, d.want)
			if err != nil {
				t.Fatal(err)
			}
			if left := export.Diff(d.want, parse(t, dialect, whole), ranges); !left.Empty() {
				t.Errorf("there is still a difference: %+v", left)
			}
		})
	}
}
