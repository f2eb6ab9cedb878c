package bgp

import (
	"fmt"
	"testing"
)

func TestRanked(t *testing.T) {
	number := func(v uint32) *uint32 { return &v }
	for _, tt := range []struct {
		name     string
		base     Attributes
		rank     uint8
		internal bool
		want     string // MED, LOCAL_PREF, prepended
	}{
		{"first, external", Attributes{Prepend: 2}, 0, false, "- - 2"},
		{"first, internal", Attributes{MED: number(7), LocalPreference: number(200)}, 0, true, "7 200 0"},
		{"second, external", Attributes{}, 1, false, "10 - 1"},
		{"second, internal", Attributes{}, 1, true, "10 99 0"},
		{"on top of the peer's, external", Attributes{MED: number(7), LocalPreference: number(200), Prepend: 2}, 2, false, "27 200 4"},
		{"on top of the peer's, internal", Attributes{MED: number(7), LocalPreference: number(200), Prepend: 2}, 2, true, "27 198 2"},
		{"of what leaves already", Attributes{MED: number(4294967295), LocalPreference: number(1)}, 3, true, "4294967295 1 0"},
		{"not zero", Attributes{LocalPreference: number(2)}, 3, true, "30 1 0"},
		{"just below the largest MED", Attributes{MED: number(4294967290)}, 1, false, "4294967295 - 1"},
		{"as long as can be", Attributes{Prepend: 250}, 255, false, "2550 - 255"},
	} {
		text := func(v *uint32) string {
			if v == nil {
				return "-"
			}
			return fmt.Sprint(*v)
		}
		got := tt.base.Ranked(tt.rank, tt.internal)
		if have := fmt.Sprintf("%s %s %d", text(got.MED), text(got.LocalPreference), got.Prepend); have != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, have, tt.want)
		}
	}
}
