// Package interop_test gives the goldens of package neighbor to the programs that they are for.
package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// goldens are the texts of a dialect, by the name of the file.
func goldens(t *testing.T, dialect string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", dialect+".*"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d goldens of %s: %v", len(files), dialect, err)
	}
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = string(text)
	}
	return texts
}

// TestFRR: FRR takes every line, and shows it again as its own configuration.
func TestFRR(t *testing.T) {
	for name, text := range goldens(t, "frr") {
		t.Run(name, func(t *testing.T) {
			frr := nettest.StartFRR(t, nettest.Self, true, text)
			running, err := frr.Vtysh("show running-config")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(text) {
				switch line = strings.TrimSpace(line); {
				case strings.HasPrefix(line, "!"), strings.HasSuffix(line, " bfd"), line == "exit-address-family": // the profile says it
				case line == "bgp listen limit 100", strings.HasSuffix(line, "-interval 300"), line == "detect-multiplier 3",
					strings.HasSuffix(line, "waymark-rr1 activate"): // defaults are not shown
				default:
					if !strings.Contains(running, line+"\n") {
						t.Errorf("FRR does not have %q:\n%s", line, running)
					}
				}
			}
		})
	}
}

// TestBIRD: BIRD reads the configuration, with what it must have besides.
func TestBIRD(t *testing.T) {
	for name, text := range goldens(t, "bird") {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "bird.conf")
			text = "router id 10.132.2.254;\nprotocol device { }\n" + text
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			nettest.Run(t, "bird", "-p", "-c", file)
		})
	}
}
