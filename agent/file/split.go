package file

import (
	"bytes"
	"encoding/json"
	"regexp"
)

// piece is a part of a file that can be parsed by itself, and how many lines are before it.
type piece struct {
	before int
	text   []byte
}

// splitDocuments cuts a file at its document markers. Nothing else in YAML may stand at the start of a line and look like
// one (YAML 1.2, 9.1.2), so a document that does not parse cannot take the others with it.
func splitDocuments(data []byte) []piece {
	var pieces []piece
	current := piece{}
	start, lines := 0, 0
	for at := 0; at < len(data); {
		end := lineEnd(data, at)
		line := data[at:end]
		if at > start && isMarker(line, "---") || isMarker(line, "...") {
			current.text = data[start:at]
			pieces = append(pieces, current)
			start, current = at, piece{before: lines}
			if line[0] == '.' {
				start, current.before = end, lines+1
			}
		}
		at = end
		lines++
	}
	current.text = data[start:]
	pieces = append(pieces, current)
	return deleteBlank(pieces)
}

func lineEnd(data []byte, at int) int {
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(data)
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// blank matches what holds no document: empty lines, comments, markers and directives.
var blank = regexp.MustCompile(`\A(?:[ \t]*(?:#[^\n]*)?\r?(?:\n|\z)|---[ \t]*(?:#[^\n]*)?\r?(?:\n|\z)|%[^\n]*(?:\n|\z))*\z`)

func deleteBlank(pieces []piece) []piece {
	kept := pieces[:0]
	for _, p := range pieces {
		if !blank.Match(p.text) {
			kept = append(kept, p)
		}
	}
	return kept
}

// splitList cuts a list as kubectl prints it into what surrounds the items, and the items: a tree of 5,000 nodes at once would
// take ten times the memory of the file. It returns no items for what does not look like such a list, which is then
// parsed as a whole.
func splitList(doc piece) (header []byte, items []piece) {
	if trimmed := bytes.TrimLeft(doc.text, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return splitJSONList(doc)
	}
	return splitYAMLList(doc)
}

var (
	itemsKey  = regexp.MustCompile(`(?m)^items:[ \t]*\r?\n`)
	firstItem = regexp.MustCompile(`\A( *)-[ \t]`)
)

func splitYAMLList(doc piece) (header []byte, items []piece) {
	text := doc.text
	found := itemsKey.FindIndex(text)
	if found == nil {
		return nil, nil
	}
	at := found[1]
	indent := firstItem.FindSubmatch(text[at:])
	if indent == nil {
		return nil, nil
	}
	dash := append(bytes.Clone(indent[1]), '-', ' ')
	lines := doc.before + bytes.Count(text[:at], []byte("\n"))
	for at < len(text) {
		end := lineEnd(text, at)
		line := text[at:end]
		if bytes.HasPrefix(line, dash) {
			items = append(items, piece{before: lines, text: text[at:end]})
		} else if endsList(line, len(indent[1])) {
			break
		} else {
			last := &items[len(items)-1]
			last.text = last.text[:len(last.text)+len(line)] // the next line of the same array
		}
		at = end
		lines++
	}
	return append(bytes.Clone(text[:found[0]]), text[at:]...), items
}

// endsList says whether a line is no longer part of an item of a list with that indent.
func endsList(line []byte, indent int) bool {
	trimmed := bytes.TrimLeft(line, " ")
	return len(bytes.TrimSpace(line)) > 0 && trimmed[0] != '#' && len(line)-len(trimmed) <= indent
}

func splitJSONList(doc piece) (header []byte, items []piece) {
	dec := json.NewDecoder(bytes.NewReader(doc.text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, nil
		}
		if key != "items" {
			var value json.RawMessage
			if err := dec.Decode(&value); err != nil {
				return nil, nil
			}
			continue
		}
		if t, err := dec.Token(); err != nil || t != json.Delim('[') {
			return nil, nil
		}
		from := int(dec.InputOffset())
		items, to := jsonItems(doc, from)
		return append(bytes.Clone(doc.text[:from]), doc.text[to:]...), items
	}
	return nil, nil
}

// jsonItems cuts the items of a list, whose bracket is open, and returns where it is closed. What is no JSON has no items, or some
// that do not parse.
func jsonItems(doc piece, at int) (items []piece, end int) {
	text := doc.text
	lines := doc.before + bytes.Count(text[:at], []byte("\n"))
	for next := byte('['); ; at++ { // next is what must stand before an item
		for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t') {
			if text[at] == '\n' {
				lines++
			}
			at++
		}
		switch {
		case at == len(text):
			return nil, at
		case text[at] == ']':
			return items, at
		case text[at] == ',' && next == ',':
			next = '['
			continue
		case next == ',':
			return nil, at
		}
		item := piece{before: lines, text: text[at:jsonEnd(text, at)]}
		items = append(items, item)
		lines += bytes.Count(item.text, []byte("\n"))
		at += len(item.text) - 1
		next = ','
	}
}

// jsonEnd is where an object ends, or the text does. Anything else that begins there is one byte.
func jsonEnd(text []byte, at int) int {
	open := 0
	for ; at < len(text); at++ {
		switch text[at] {
		case '"':
			for at++; at < len(text) && text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
		case '{', '[':
			open++
		case '}', ']':
			open--
		}
		if open == 0 {
			return min(at+1, len(text))
		}
	}
	return len(text)
}
