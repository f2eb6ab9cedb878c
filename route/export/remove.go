package export

// RemoveStatic writes the commands that take routes away which Parse found. Of a prefix (in a VRF) that is among left, only the
// next hop goes; of another one all that the router says of it goes, also where next hops, preference and tag are statements of
// their own.
func RemoveStatic(dialect string, gone []Static, left []Route) (string, error) {
	routes := make([]Route, len(gone))
	for i, s := range gone {
		routes[i] = s.Route
	}
	return Remove(dialect, routes)
}
