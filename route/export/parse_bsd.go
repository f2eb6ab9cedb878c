package export

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// readOpenBSD reads the table that "route -n show" prints, commands of route(8), and those of hostname.if(5), after a "!".
func readOpenBSD(r *reading) error {
	l := lexer{comment: "#"}
	table, columns := "", []string(nil)
	for r.next() {
		words, _ := l.split(strings.TrimPrefix(r.text, "!"))
		p := phrase(words)
		switch first := p.peek(); {
		case first == "route" || first == "/sbin/route":
			r.openbsdCommand(p[1:])
		case first == "Internet:" || first == "Internet6:":
			table, columns = first, nil
		case first == "Destination":
			columns = append(columns, words...)
		case table != "" && columns != nil && len(p) >= 3:
			r.openbsdRow(table == "Internet6:", columns, p)
		}
	}
	return nil
}

// openbsdRow reads a line of the table. Only those with the flag S are of a configuration.
func (r *reading) openbsdRow(six bool, columns []string, p phrase) {
	flags := p[2]
	if !strings.Contains(flags, "S") {
		return
	}
	var (
		s   Static
		err error
	)
	s.Prefix, err = openbsdPrefix(p[0], six)
	switch {
	case err != nil:
	case strings.Contains(flags, "B"):
		s.Via = "blackhole"
	case strings.Contains(flags, "R"):
		s.Via = "reject"
	case strings.Contains(flags, "G"):
		if err = s.setHop(p[1]); !s.NextHop.IsLinkLocalUnicast() {
			s.Via = ""
		}
	}
	for i, column := range columns {
		if i >= len(p) || err != nil {
			break
		}
		switch column {
		case "Prio":
			s.Preference, err = readNumber[int64](p[i])
		case "Iface":
			if s.complete() != nil {
				s.Via = p[i]
			}
		case "Label":
			s.Name = strings.Trim(p[i], `"`)
		}
	}
	if err == nil && s.complete() != nil {
		s.Via = p[1] // the interface's own address
	}
	r.take(s, err)
}

// openbsdCommand reads what follows "route".
func (r *reading) openbsdCommand(p phrase) {
	var (
		s       Static
		six     bool
		add     bool
		err     error
		netmask string
		targets []string
	)
	for len(p) > 0 && err == nil {
		word := p.take()
		switch word {
		case "-inet6":
			six = true
		case "-T":
			s.VRF = p.take()
		case "-priority":
			s.Preference, err = readNumber[int64](p.take())
		case "-label":
			s.Name = p.take()
		case "-blackhole", "-reject":
			s.Via = word[1:]
		case "-netmask", "-prefixlen":
			netmask = p.take()
		case "-ifp", "-ifa", "-mtu", "-expire", "-hopcount", "-rtt", "-rttvar", "-recvpipe", "-sendpipe", "-ssthresh", "-lock":
			p.take()
		case "add":
			add = true
		default:
			if strings.HasPrefix(word, "-T") {
				s.VRF = word[2:]
			} else if !strings.HasPrefix(word, "-") {
				targets = append(targets, word)
			}
		}
		if !add && len(targets) > 0 {
			return // another command
		}
	}
	if !add {
		return
	}
	if s.VRF == "0" {
		s.VRF = ""
	}
	if err == nil {
		err = s.openbsdTargets(targets, netmask, six)
	}
	r.take(s, err)
}

// openbsdTargets reads the destination, perhaps with a mask, and the gateway.
func (s *Static) openbsdTargets(targets []string, netmask string, six bool) (err error) {
	if len(targets) == 0 {
		return fmt.Errorf("it ends before the destination")
	}
	if netmask != "" {
		p := phrase{targets[0], netmask}
		s.Prefix, err = takePrefix(&p)
	} else {
		s.Prefix, err = openbsdPrefix(targets[0], six)
	}
	switch {
	case err != nil:
		return err
	case s.Via != "": // the gateway does not count
		return nil
	case len(targets) < 2:
		return errNoHop
	case likeAddress(targets[1]):
		return s.setHop(targets[1])
	}
	s.Via = targets[1]
	return nil
}

// openbsdPrefix reads a destination, of which the last zeros may be missing: 10.131.9/24.
func openbsdPrefix(word string, six bool) (netip.Prefix, error) {
	if word == "default" {
		if six {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	network, length, ok := strings.Cut(word, "/")
	if ok && !strings.Contains(network, ":") {
		for range 3 - strings.Count(network, ".") {
			network += ".0"
		}
		word = network + "/" + length
	}
	p, err := readPrefix(word)
	if err != nil {
		return p, fmt.Errorf("destination %s", strconv.Quote(word)+" is no prefix")
	}
	return p, nil
}
