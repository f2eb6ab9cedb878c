package file

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fault is what is wrong at one place. It never quotes a value: it may be one of a Secret.
type fault struct {
	line    int
	path    string
	message string
}

// decoder fills Go values with json tags from a YAML tree. Unlike a way through JSON it knows the line of every fault and
// finds them all.
type decoder struct {
	strict bool // unknown and duplicate fields are faults
	before int  // lines before the tree
	faults []fault
}

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	d.faults = append(d.faults, fault{d.before + n.Line, path, fmt.Sprintf(format, args...)})
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	n = resolve(n)
	if n.ShortTag() == "!!null" {
		return
	}
	if u, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		d.leaf(n, u, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		d.decode(n, target.Elem(), path)
		v.Set(target)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.slice(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// leaf decodes a type that reads JSON by itself.
func (d *decoder) leaf(n *yaml.Node, u json.Unmarshaler, path string) {
	var value any
	err := n.Decode(&value)
	if err == nil {
		var text []byte
		if text, err = json.Marshal(value); err == nil {
			err = u.UnmarshalJSON(text)
		}
	}
	if err == nil {
		return
	}
	switch u.(type) {
	case *metav1.Duration:
		d.fault(n, path, "expected a duration, as 90s or 300ms")
	case *metav1.Time:
		d.fault(n, path, "expected a time, as 2006-01-02T15:04:05Z")
	default:
		d.fault(n, path, "not of the expected form")
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "expected fields, found %s", describe(n))
		return
	}
	known := fieldsOf(v.Type())
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := resolve(key).Value
		index, ok := known[name]
		if first := seen[name]; d.strict && first > 0 {
			d.fault(key, join(path, name), "duplicate field, first in line %d", first)
			continue
		}
		seen[name] = d.before + key.Line
		if d.strict && path == "" && name == "status" {
			continue // what controllers have written, of whatever version, is nobody's wish
		}
		if ok {
			d.decode(value, v.FieldByIndex(index), join(path, name))
		} else if d.strict {
			d.fault(key, "", "unknown field %s%s", join(path, name), suggestion(name, known))
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldsOf maps the names in a manifest to fields, those of inlined structs too.
func fieldsOf(t reflect.Type) map[string][]int {
	fields := map[string][]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for inner, index := range fieldsOf(f.Type) {
				fields[inner] = append([]int{i}, index...)
			}
		case name != "" && name != "-":
			fields[name] = []int{i}
		}
	}
	return fields
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, path, "expected names and values, found %s", describe(n))
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := reflect.New(v.Type().Key()).Elem()
		key.SetString(resolve(n.Content[i]).Value)
		if d.strict && v.MapIndex(key).IsValid() {
			d.fault(n.Content[i], path+"["+key.String()+"]", "duplicate field")
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(n.Content[i+1], value, path+"["+key.String()+"]")
		v.SetMapIndex(key, value)
	}
}

func (d *decoder) slice(n *yaml.Node, v reflect.Value, path string) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		data, err := base64.StdEncoding.DecodeString(n.Value)
		if err != nil || n.Kind != yaml.ScalarNode {
			d.fault(n, path, "expected base64")
			return
		}
		v.SetBytes(data)
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fault(n, path, "expected a list, found %s", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	switch tag := n.ShortTag(); v.Kind() {
	case reflect.String:
		// A date without quotes is a timestamp to YAML, and a string to the API.
		if n.Kind == yaml.ScalarNode && (tag == "!!str" || tag == "!!timestamp") {
			v.SetString(n.Value)
			return
		}
		d.fault(n, path, "expected text, found %s (in quotes it would be text)", describe(n))
	case reflect.Bool:
		var b bool
		if tag != "!!bool" || n.Decode(&b) != nil {
			d.fault(n, path, "expected true or false, found %s", describe(n))
			return
		}
		v.SetBool(b)
	case reflect.Int32, reflect.Int64, reflect.Int:
		var i int64
		if tag != "!!int" || n.Decode(&i) != nil || v.OverflowInt(i) {
			d.fault(n, path, "expected a whole number, found %s", describe(n))
			return
		}
		v.SetInt(i)
	default:
		d.fault(n, path, "cannot be set")
	}
}

// describe says what a node is, not what it holds.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return "text"
	case "!!int":
		return "a number"
	case "!!float":
		return "a number with a fraction, or one that is too large"
	case "!!bool":
		return "true or false"
	}
	return "something else"
}

// suggestion names the known field or kind that was probably meant.
func suggestion[V any](name string, known map[string]V) string {
	best, least := "", 3
	for candidate := range known {
		d := distance(strings.ToLower(name), strings.ToLower(candidate))
		if d < least || d == least && candidate < best {
			best, least = candidate, d
		}
	}
	if best == "" || least >= len(best) {
		return ""
	}
	return ": did you mean " + best + "?"
}

// distance is how many letters must be changed, added or removed (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// lineOf finds the line of a field path as package field prints it, or of the nearest parent that is there.
func lineOf(n *yaml.Node, path string) int {
	line := n.Line
	for path != "" {
		var name string
		if inner, ok := strings.CutPrefix(path, "["); ok {
			name, path, _ = strings.Cut(inner, "]")
		} else if i := strings.IndexAny(path, ".["); i >= 0 {
			name, path = path[:i], path[i:]
		} else {
			name, path = path, ""
		}
		path = strings.TrimPrefix(path, ".")
		key, value := child(n, name)
		if value == nil {
			return line
		}
		n, line = resolve(value), key.Line
	}
	return line
}

// child returns an entry of a mapping or list, with the node that names it.
func child(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		return nil, nil
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Value == name {
			return c, n.Content[i+1]
		}
	}
	return nil, nil
}
