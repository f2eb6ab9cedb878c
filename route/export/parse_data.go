package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// readJSON reads what asJSON writes.
func readJSON(r *reading) error {
	text := []byte(r.rest)
	d := json.NewDecoder(bytes.NewReader(text))
	if first, err := d.Token(); err != nil || first != json.Delim('[') {
		return errors.New("it is no JSON list")
	}
	r.number = 1
	at := 0
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fmt.Errorf("after line %d: %w", r.number, err)
		}
		begin := int(d.InputOffset()) - len(raw)
		r.number += bytes.Count(text[at:begin], []byte{'\n'})
		at = begin
		r.text, _, _ = strings.Cut(string(raw), "\n")
		var s struct { // not the line and the text of another configuration
			Route
			Via string
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			r.refuse(err)
			continue
		}
		one := Static{Route: s.Route, Via: s.Via}
		err := one.whole()
		r.take(one, err)
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("after line %d: the list has no end: %w", r.number, err)
	}
	return nil
}

// whole says what a route of data lacks, and drops host bits.
func (s *Static) whole() error {
	switch hop := s.NextHop; {
	case !s.Prefix.IsValid() || s.Prefix.Addr().Is4In6():
		return errors.New("it has no prefix")
	case hop.Zone() != "" || hop.Is4In6():
		return fmt.Errorf("next hop %q is no address", hop)
	}
	s.Prefix = s.Prefix.Masked()
	return s.complete()
}

// readCSV reads what asCSV writes. The columns may be in another order, and others among them.
func readCSV(r *reading) error {
	lines := strings.Split(r.rest, "\n")
	c := csv.NewReader(strings.NewReader(r.rest))
	c.FieldsPerRecord = -1
	names, err := c.Read()
	if err != nil {
		return fmt.Errorf("the line with the columns' names: %w", err)
	}
	if !slices.Contains(names, "prefix") || !slices.Contains(names, "nextHop") {
		return errors.New("the first line does not name the columns prefix and nextHop")
	}
	for {
		row, err := c.Read()
		if err == io.EOF {
			return nil
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			r.number = bad.StartLine
		} else if err == nil {
			r.number, _ = c.FieldPos(0)
		} else {
			return err
		}
		r.text = strings.TrimSpace(lines[r.number-1])
		if err != nil {
			r.refuse(bad.Err)
			continue
		}
		var s Static
		for i, value := range row {
			if i < len(names) && value != "" && err == nil {
				err = s.setColumn(names[i], value)
			}
		}
		if err == nil {
			err = s.whole()
		}
		r.take(s, err)
	}
}

func (s *Static) setColumn(name, value string) (err error) {
	switch name {
	case "gateway":
		s.Gateway = value
	case "vrf":
		s.VRF = value
	case "name":
		s.Name = value
	case "via":
		s.Via = value
	case "prefix":
		err = s.Prefix.UnmarshalText([]byte(value))
	case "nextHop":
		err = s.NextHop.UnmarshalText([]byte(value))
	case "preference":
		s.Preference, err = strconv.ParseInt(value, 10, 64)
	case "tag":
		s.Tag, err = readNumber[uint32](value)
	case "bfd":
		s.BFD, err = strconv.ParseBool(value)
	case "track":
		s.Track, err = readNumber[uint16](value)
	}
	if err != nil {
		return fmt.Errorf("%s %q cannot be read", name, value)
	}
	return nil
}

// readNumber reads one that fits.
func readNumber[N int64 | uint32 | uint16](word string) (N, error) {
	n, err := strconv.ParseUint(word, 10, 63)
	if err != nil || uint64(N(n)) != n {
		return 0, fmt.Errorf("number %q cannot be read", word)
	}
	return N(n), nil
}
