package export

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// destinations are the names by which data has a route's destination.
var destinations = []string{"prefix", "destination", "dst", "dst-address", "network", "cidr", "subnet"}

// json takes every prefix that there is, be it a value or a name: no two routers have the same shape. An address alone, or
// "default", counts where it is called a destination.
func (t *tableReader) json(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	type level struct {
		object, value bool // value: what comes next is not a name
		name          string
	}
	var levels []level
	t.number = 1
	at, bare, last := 0, true, netip.Prefix{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && len(levels) == 0 {
			t.List = bare && len(t.Routes) > 0
			return nil
		} else if err != nil {
			return err
		}
		offset := int(d.InputOffset())
		t.number += strings.Count(text[at:offset], "\n")
		at = offset
		var top level
		if n := len(levels); n > 0 {
			top = levels[n-1]
			if top.object {
				levels[n-1].value = !top.value
			}
		}
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{', '[':
				levels = append(levels, level{object: token == '{', name: top.name})
			default:
				levels = levels[:len(levels)-1]
				if n := len(levels); n > 0 && levels[n-1].object {
					levels[n-1].value = false
				}
			}
		case string:
			bare = bare && !top.object
			if top.object && !top.value {
				levels[len(levels)-1].name = token
			}
			named := top.value && slices.Contains(destinations, strings.ToLower(top.name))
			if !likeWhole.MatchString(token) && !(named && like(token)) {
				continue
			}
			t.text = token
			p, err := t.destination([]string{token}, false, false)
			if err != nil {
				t.refuse(err)
			} else if p != last { // FRR has it as a name and as a value
				t.take(p)
			}
			last = p
		}
	}
}

// csvColumn is the column of the destination in a text whose first line has names; -1: there is none.
func csvColumn(text string) int {
	first, _, _ := strings.Cut(text, "\n")
	if !strings.Contains(first, ",") {
		return -1
	}
	return slices.IndexFunc(strings.Split(first, ","), func(name string) bool {
		return slices.Contains(destinations, strings.ToLower(strings.Trim(name, " \"\r")))
	})
}

// csv reads a table (RFC 4180).
func (t *tableReader) csv(text string) error {
	column := csvColumn(strings.TrimSpace(text))
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if first {
			continue
		}
		t.number, _ = r.FieldPos(0)
		t.text = strings.Join(row, ",")
		if column >= len(row) {
			t.refuse(errors.New("the line ends before the destination"))
			continue
		}
		word := strings.TrimSpace(row[column])
		if !like(word) {
			t.refuse(errors.New("the destination is no prefix"))
		} else if p, err := t.destination([]string{word}, false, false); err != nil {
			t.refuse(err)
		} else {
			t.take(p)
		}
	}
}
