package export

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dialect is what a router's language has, and how it is written.
type dialect struct {
	name     string
	comment  string // begins a line that the router ignores; "": there is none
	names    int    // characters of a route's name or description, or of a comment that takes its place
	most     int64  // preference
	tag      bool
	bfd      bool
	source   bool // BFD must be told the router's own address
	track    int  // the greatest number of a track object; 0: it has none
	vrf      func(string) error
	main     []string // words for the table of what is in no VRF
	declares bool     // the text is no list of commands but the whole
	write    func(b *strings.Builder, routes []Route)
	read     func(*reading) error
	undo     func(*removal)
	default4 int64 // the preference of a route that says none
	default6 int64 // the same for IPv6; 0: as for IPv4
	data     bool  // it names the gateways
}

const (
	anyNumber = 1<<32 - 1
	// Names that are not cut by the dialect are cut to what a node's name may have, and as much as a prefix of it.
	anyName = 2 * 253
)

// dialects, each with the limits that its vendor's command reference states.
var dialects = []dialect{
	{name: "cisco-ios", comment: "!", names: 50, most: 255, tag: true, track: 1000, vrf: vrfName, write: each(ciscoIOS), read: ciscoIOSLines.read, undo: ciscoIOSLines.undo, default4: 1},
	{name: "cisco-iosxr", comment: "!", names: 30, most: 254, tag: true, bfd: true, vrf: vrfName, main: []string{"default"}, write: ciscoIOSXR, read: readXR, undo: eachUndo(undoXR), default4: 1},
	{name: "cisco-nxos", comment: "!", names: 50, most: 255, tag: true, track: 512, vrf: vrfName, main: []string{"default"}, write: ciscoNXOS, read: ciscoNXOSLines.read, undo: ciscoNXOSLines.undo, default4: 1},
	{name: "arista-eos", comment: "!", names: 100, most: 255, tag: true, bfd: true, vrf: vrfName, main: []string{"default"}, write: each(aristaEOS), read: aristaEOSLines.read, undo: aristaEOSLines.undo, default4: 1},
	{name: "huawei-vrp", comment: "#", names: 80, most: 255, tag: true, bfd: true, vrf: vrfName, write: each(huaweiVRP), read: huaweiVRPLines.read, undo: huaweiVRPLines.undo, default4: 60},
	{name: "h3c-comware", comment: "#", names: 60, most: 255, tag: true, bfd: true, source: true, track: 1024, vrf: vrfName, write: each(h3cComware), read: h3cComwareLines.read, undo: h3cComwareLines.undo, default4: 60},
	{name: "juniper-junos", comment: "#", names: anyName, most: anyNumber, tag: true, bfd: true, vrf: vrfName, main: []string{"default", "master"}, write: each(junos), read: readJunos, undo: eachUndo(undoJunos), default4: 5},
	{name: "mikrotik", comment: "#", names: 250, most: 255, bfd: true, vrf: vrfName, main: []string{"main"}, write: each(mikrotik), read: readMikrotik, undo: eachUndo(undoMikrotik), default4: 1},
	{name: "vyos", comment: "#", names: 250, most: 255, bfd: true, vrf: vrfName, main: []string{"default"}, write: each(vyos), read: readVyOS, undo: eachUndo(undoVyOS), default4: 1},
	{name: "frr", comment: "!", names: anyName, most: 255, tag: true, bfd: true, vrf: vrfName, main: []string{"default"}, write: each(frr), read: frrLines.read, undo: frrLines.undo, default4: 1},
	{name: "bird", comment: "#", names: anyName, most: 65535, tag: true, bfd: true, vrf: vrfName, declares: true, main: []string{"default"}, write: bird, read: readBIRD, default4: 200},
	{name: "linux", comment: "#", names: anyName, most: anyNumber, vrf: linuxVRF, main: []string{"main", "254", "local", "255"}, write: each(linux), read: readLinux, undo: eachUndo(undoLinux), default6: 1024},
	{name: "openbsd", comment: "#", names: 31, most: 63, vrf: rtable, main: []string{"0"}, write: each(openbsd), read: readOpenBSD, undo: eachUndo(undoOpenBSD), default4: 8},
	{name: "json", names: anyName, most: anyNumber, tag: true, bfd: true, track: 65535, vrf: vrfName, declares: true, write: asJSON, read: readJSON, data: true},
	{name: "csv", names: anyName, most: anyNumber, tag: true, bfd: true, track: 65535, vrf: vrfName, declares: true, write: asCSV, read: readCSV, data: true},
}

// lookUp finds a dialect by its name.
func lookUp(name string) (*dialect, error) {
	i := slices.IndexFunc(dialects, func(d dialect) bool { return d.name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no dialect %q; there are %s", name, strings.Join(Dialects(), ", "))
	}
	return &dialects[i], nil
}

// normal is the preference of a route that says none.
func (d *dialect) normal(r *Route) int64 {
	if d.default6 != 0 && r.Prefix.Addr().Is6() {
		return d.default6
	}
	return d.default4
}

// check finds what the dialect cannot express.
func (d *dialect) check(r *Route) error {
	switch {
	case !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6():
		return errors.New("the prefix is none, or has host bits")
	case !r.NextHop.IsValid() || r.NextHop.Is4() != r.Prefix.Addr().Is4() || r.NextHop.Zone() != "" || r.NextHop.Is4In6():
		return errors.New("the next hop is no address of the prefix's family")
	case r.Preference < 0 || r.Preference > d.most:
		return fmt.Errorf("preference %d is not in 1..%d", r.Preference, d.most)
	case r.Tag != 0 && !d.tag:
		return errors.New("a static route has no tag there")
	case r.BFD && !d.bfd:
		return errors.New("a static route has no BFD there, or only for an interface, which is not known here")
	case r.BFD && d.source && (!r.Source.IsValid() || r.Source.Is4() != r.NextHop.Is4()):
		return errors.New("BFD must be told an address of the router of the same family: the gateway's address is of the other one")
	case r.Track != 0 && d.track == 0:
		return errors.New("a static route cannot depend on a track object by number there")
	case int(r.Track) > d.track:
		return fmt.Errorf("track %d is not in 1..%d", r.Track, d.track)
	case r.Track != 0 && r.BFD:
		return errors.New("a route depends on BFD or on a track object, not on both")
	case slices.Contains(d.main, r.VRF):
		return fmt.Errorf("VRF %s: that is the main table there, in which routes without a VRF are", r.VRF)
	case r.VRF != "":
		return d.vrf(r.VRF)
	}
	return nil
}

// vrfName wants a name that every dialect with named VRFs takes.
func vrfName(name string) error {
	if name != clean(name, 31) {
		return fmt.Errorf("VRF %q: at most 31 letters, digits and . _ -, letters and digits first", name)
	}
	return nil
}

// linuxVRF wants a routing table, or the name of a VRF device, which has at most 15 characters.
func linuxVRF(name string) error {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n > 0 && strconv.FormatUint(n, 10) == name {
		return nil
	}
	if len(name) > 15 || strings.Trim(name, "0123456789") == "" {
		return fmt.Errorf("VRF %q: there it is the number of a routing table, or the name of a device, which has at most 15 characters", name)
	}
	return vrfName(name)
}

// rtable wants a routing table of OpenBSD (route(8), option -T).
func rtable(name string) error {
	if n, err := strconv.ParseUint(name, 10, 8); err != nil || strconv.FormatUint(n, 10) != name {
		return fmt.Errorf("VRF %q: it is a routing table there, a number in 0..255", name)
	}
	return nil
}

// each is a dialect in which a route stands for itself.
func each(one func(b *strings.Builder, r Route)) func(*strings.Builder, []Route) {
	return func(b *strings.Builder, routes []Route) {
		for _, r := range routes {
			one(b, r)
		}
	}
}

// words writes them with a space before each.
func words(b *strings.Builder, list ...string) {
	for _, w := range list {
		b.WriteByte(' ')
		b.WriteString(w)
	}
}

// number writes a word and a number, unless that is 0. The word may be empty.
func number[N int64 | uint32 | uint16](b *strings.Builder, word string, n N) {
	if n == 0 {
		return
	}
	if word != "" {
		words(b, word)
	}
	words(b, strconv.FormatUint(uint64(n), 10))
}

// text writes a word and a text, unless that is empty.
func text(b *strings.Builder, word, t string) {
	if t != "" {
		words(b, word, t)
	}
}

// family is one word for IPv4 and another for IPv6.
func family(r Route, v4, v6 string) string {
	if r.Prefix.Addr().Is4() {
		return v4
	}
	return v6
}

// mask is the prefix's length as an address.
func mask(p netip.Prefix) string {
	bits := ^uint32(0) << (32 - p.Bits())
	return netip.AddrFrom4([4]byte{byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)}).String()
}
