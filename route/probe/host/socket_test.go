package host

import (
	"testing"

	"github.com/waymark-bgp/waymark/route/probe"
)

// TestKinds reads the types and codes of ICMP.
func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		read   func(kind, code byte, itself bool) probe.Kind
		kind   byte
		code   byte
		itself bool
		want   probe.Kind
	}{
		{"time exceeded in transit", kind4, 11, 0, false, probe.Exceeded},
		{"fragments came late", kind4, 11, 1, false, probe.Nothing},
		{"closed port", kind4, 3, 3, true, probe.Reached},
		{"a filter says that the port is closed", kind4, 3, 3, false, probe.Prohibited},
		{"network unreachable", kind4, 3, 0, false, probe.Unreachable},
		{"host unreachable", kind4, 3, 1, false, probe.Unreachable},
		{"too large", kind4, 3, 4, false, probe.Nothing},
		{"network prohibited", kind4, 3, 9, false, probe.Prohibited},
		{"host prohibited", kind4, 3, 10, false, probe.Prohibited},
		{"prohibited", kind4, 3, 13, false, probe.Prohibited},
		{"redirect", kind4, 5, 1, false, probe.Nothing},
		{"IPv6: hop limit exceeded", kind6, 3, 0, false, probe.Exceeded},
		{"IPv6: closed port", kind6, 1, 4, true, probe.Reached},
		{"IPv6: a filter says that the port is closed", kind6, 1, 4, false, probe.Prohibited},
		{"IPv6: no route", kind6, 1, 0, false, probe.Unreachable},
		{"IPv6: prohibited", kind6, 1, 1, false, probe.Prohibited},
		{"IPv6: address unreachable", kind6, 1, 3, false, probe.Unreachable},
		{"IPv6: reject route", kind6, 1, 6, false, probe.Prohibited},
		{"IPv6: too large", kind6, 2, 0, false, probe.Nothing},
	} {
		if got := tt.read(tt.kind, tt.code, tt.itself); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
