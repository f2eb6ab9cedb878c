package export

import (
	"fmt"
	"slices"
	"strings"
)

// Words of ip-route(8). Routes of other protocols come from daemons and from the kernel itself, and are not configured.
var (
	linuxCommands = []string{"add", "append", "change", "prepend", "replace"}
	linuxDiscards = []string{"blackhole", "unreachable", "prohibit", "throw"}
	linuxOthers   = []string{"local", "broadcast", "multicast", "anycast", "nat"}
	linuxStatic   = []string{"boot", "3", "static", "4", "zstatic", "196"} // the last two are FRR's
)

// readLinux reads what "ip route show" prints, and the lines that "ip -batch" takes.
func readLinux(r *reading) error {
	var head Static // of a route whose next hops are on lines of their own
	for r.next() {
		line, comment, _ := strings.Cut(r.text, "#")
		w := strings.Fields(line)
		if len(w) > 0 && w[0] == "nexthop" {
			if head.Prefix.IsValid() {
				s, _, err := head.linux(w)
				if err == nil {
					err = s.complete()
				}
				r.take(s, err)
			}
			continue
		}
		head = Static{}
		batch := false
		if len(w) > 0 && w[0] == "ip" {
			w = w[1:]
			for len(w) > 0 && strings.HasPrefix(w[0], "-") {
				w = w[1:]
			}
			if len(w) == 0 || w[0] != "route" {
				continue
			}
		}
		if len(w) > 1 && w[0] == "route" {
			if !slices.Contains(linuxCommands, w[1]) {
				continue
			}
			w, batch = w[2:], true
		}
		var s Static
		if len(w) > 0 && (w[0] == "unicast" || slices.Contains(linuxDiscards, w[0])) {
			if w[0] != "unicast" {
				s.Via = w[0]
			}
			w = w[1:]
		}
		if len(w) == 0 || !batch && s.Via == "" && w[0] != "default" && !likeAddress(w[0]) || slices.Contains(linuxOthers, w[0]) {
			continue
		}
		name := w[0]
		if name == "default" {
			name = "0.0.0.0/0"
			if strings.Contains(line, ":") {
				name = "::/0"
			}
		}
		var err error
		if s.Prefix, err = readPrefix(name); err != nil {
			r.refuse(err)
			continue
		}
		s.Name = strings.TrimSpace(comment)
		s, configured, err := s.linux(w[1:])
		switch {
		case !configured:
		case err != nil:
			r.refuse(err)
		case !s.NextHop.IsValid() && s.Via == "":
			head = s // next hops follow
		default:
			r.take(s, nil)
		}
	}
	return nil
}

// linux is the route with the words after the prefix, and whether somebody configured it.
func (s Static) linux(w []string) (_ Static, configured bool, err error) {
	configured = true
	for len(w) > 0 && err == nil {
		option, value := w[0], ""
		w = w[1:]
		if len(w) > 0 {
			value = w[0]
		}
		switch option {
		case "via":
			if (value == "inet" || value == "inet6") && len(w) > 1 {
				w = w[1:]
				value = w[0]
			}
			err = s.setHop(value)
		case "dev":
			if s.Via == "" {
				s.Via = value
			}
		case "proto":
			configured = slices.Contains(linuxStatic, value)
		case "metric":
			s.Preference, err = readNumber[int64](value)
		case "table", "vrf":
			if s.VRF = value; value == "main" || value == "254" {
				s.VRF = ""
			}
			configured = configured && value != "local"
		case "nexthop", "onlink", "linkdown", "dead", "offload", "trap", "pervasive":
			continue // words without a value
		}
		if err == nil && value == "" {
			return s, configured, fmt.Errorf("it ends after %q", option)
		}
		w = w[min(1, len(w)):]
	}
	if s.NextHop.IsValid() && !s.NextHop.IsLinkLocalUnicast() {
		s.Via = "" // the kernel found it by the address
	}
	return s, configured, err
}
