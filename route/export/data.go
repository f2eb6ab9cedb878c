package export

import (
	"encoding/csv"
	"encoding/json"
	"strconv"
	"strings"
)

// asJSON writes one list, never null.
func asJSON(b *strings.Builder, routes []Route) {
	e := json.NewEncoder(b)
	e.SetIndent("", "  ")
	_ = e.Encode(append([]Route{}, routes...)) // a Builder takes everything, and a Route has nothing that JSON has not
}

// asCSV writes a table (RFC 4180) with a line of names. What is not set is empty.
func asCSV(b *strings.Builder, routes []Route) {
	w := csv.NewWriter(b)
	set := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	_ = w.Write([]string{"gateway", "vrf", "prefix", "nextHop", "name", "preference", "tag", "bfd", "track"})
	for _, r := range routes {
		_ = w.Write([]string{
			r.Gateway, r.VRF, r.Prefix.String(), r.NextHop.String(), r.Name,
			set(uint64(r.Preference)), set(uint64(r.Tag)), strconv.FormatBool(r.BFD), set(uint64(r.Track)),
		})
	}
	w.Flush()
}
