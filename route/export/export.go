// Package export writes the static routes to a cluster's pods in the languages of routers that speak no BGP, reads those that
// their configurations have, and compares. It is pure: it knows neither the cluster nor the routers, and what it writes is for
// people to enter.
package export

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Route is one static route.
type Route struct {
	Gateway string       `json:"gateway"` // the router that has the route
	Prefix  netip.Prefix `json:"prefix"`  // without host bits
	NextHop netip.Addr   `json:"nextHop"` // a node's address, of the same family
	Name    string       `json:"name"`    // the node's; each dialect writes what it can of it
	VRF     string       `json:"vrf,omitempty"`
	// Preference is what the dialect calls preference, distance or metric. The lower wins, in BIRD the higher. 0: its default.
	Preference int64 `json:"preference,omitempty"`
	// Tag by which the router may redistribute the route. 0: none.
	Tag uint32 `json:"tag,omitempty"`
	// BFD says that the route goes when BFD finds the next hop dead.
	BFD bool `json:"bfd,omitempty"`
	// Track is the number of a track object of the router that the route depends on. 0: none.
	Track uint16 `json:"track,omitempty"`
	// Source is the router's own address, of the same family, for BFD where the router must be told it. The zero value: unknown.
	Source netip.Addr `json:"-"`
}

// Compare orders routes as they are written: by gateway, VRF, family, prefix, next hop.
func (r Route) Compare(other Route) int {
	return cmp.Or(
		cmp.Compare(r.Gateway, other.Gateway), cmp.Compare(r.VRF, other.VRF),
		r.Prefix.Compare(other.Prefix), r.NextHop.Compare(other.NextHop), cmp.Compare(r.Name, other.Name),
	)
}

// same says that two routes are for the same packets.
func (r Route) same(other Route) bool {
	return r.Gateway == other.Gateway && r.VRF == other.VRF && r.Prefix == other.Prefix
}

// ErrNoCommand is the error of RemoveStatic for a dialect that is no list of commands: there the whole is written anew.
var ErrNoCommand = errors.New("has no command to remove a route: replace the whole by a new export")

// Dialects are the names of all dialects.
func Dialects() []string {
	names := make([]string, len(dialects))
	for i := range dialects {
		names[i] = dialects[i].name
	}
	return names
}

// Render writes routes as a dialect has them: sorted, so that the same routes are always the same text, and each once. It fails
// when a route has an option that the dialect has not.
func Render(dialect string, routes []Route) (string, error) {
	d, err := lookUp(dialect)
	if err != nil {
		return "", err
	}
	sorted := slices.Clone(routes)
	slices.SortFunc(sorted, Route.Compare)
	sorted = slices.Compact(sorted)
	for i := range sorted {
		if err := d.check(&sorted[i]); err != nil {
			return "", fmt.Errorf("route to %s through %s in %s: %w", sorted[i].Prefix, sorted[i].NextHop, dialect, err)
		}
		if i > 0 && sorted[i].same(sorted[i-1]) {
			return "", fmt.Errorf("%s would be behind %s and %s: a pod subnet is on one node", sorted[i].Prefix, sorted[i-1].NextHop, sorted[i].NextHop)
		}
		sorted[i].Name = clean(sorted[i].Name, d.names)
	}
	var b strings.Builder
	d.write(&b, sorted)
	return b.String(), nil
}

// Heading is a comment line of the dialect that names a gateway; "": the dialect has no comments.
func Heading(dialectName, gateway string) string {
	d, err := lookUp(dialectName)
	if err != nil || d.comment == "" {
		return ""
	}
	return d.comment + " gateway " + clean(gateway, anyName) + "\n"
}

// clean leaves of a text at most so many characters, and only such as no dialect gives a meaning to: the text never ends a
// word, a line or a quotation, and begins with no sign of an option.
func clean(text string, most int) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case b.Len() == most:
			return b.String()
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() == 0: // letters and digits first
		case c == '.' || c == '_' || c == '-':
			b.WriteRune(c)
		default:
			b.WriteByte('-')
		}
	}
	return b.String()
}
