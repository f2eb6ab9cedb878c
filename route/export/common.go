package export

// Common is what all routes of an export have in common, besides what the nodes and gateways say.
type Common struct {
	VRF        string
	NamePrefix string // goes before the node's name in the name of a route
	Preference int64  // as in Route, and so are those below
	Tag        uint32
	BFD        bool
	Track      uint16
	Aggregate  bool // merge as the function Aggregate does
}

// Apply returns the routes with all of that; the given ones stay as they are.
func (c Common) Apply(routes []Route) []Route {
	changed := make([]Route, len(routes))
	for i, r := range routes {
		r.Name = c.NamePrefix + r.Name
		r.VRF, r.Preference, r.Tag, r.BFD, r.Track = c.VRF, c.Preference, c.Tag, c.BFD, c.Track
		changed[i] = r
	}
	if c.Aggregate {
		return Aggregate(changed)
	}
	return changed
}
