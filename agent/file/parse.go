package file

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDocument bounds what is parsed at once, in bytes: the tree takes up to a hundred times the memory of its text. No object
	// that the API server accepts is larger than 1.5 MiB.
	maxDocument = 2 << 20
	// maxAliased bounds the values that the aliases of one file stand for: a few kB can stand for any amount of memory.
	maxAliased = 100_000
)

// tooLarge is an error about a text that would take too much memory.
type tooLarge string

func (e tooLarge) Error() string { return string(e) }

var yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// parse returns the tree of one document, or what is wrong and in which line of it, without a word of the text itself.
func (r *reader) parse(text []byte) (root *yaml.Node, line int, err error) {
	if len(text) > maxDocument {
		return nil, 1, tooLarge(fmt.Sprintf("a document of %.1f MiB, of at most %d MiB: put a line of --- between objects, "+
			"or make it a List as kubectl prints it, whose items count one by one", float64(len(text))/(1<<20), maxDocument>>20))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		m := yamlError.FindStringSubmatch(err.Error())
		if m == nil {
			return nil, 1, errors.New("not YAML")
		}
		line, _ = strconv.Atoi(m[1])
		message := m[2]
		if strings.HasPrefix(message, "unknown anchor") { // the only message that quotes
			message = "unknown anchor"
		}
		return nil, max(line, 1), errors.New(message)
	}
	if len(doc.Content) == 0 {
		return nil, 1, errors.New("no document")
	}
	if at := r.countAliased(doc.Content[0], false); at != nil {
		return nil, at.Line, tooLarge(fmt.Sprintf("the aliases of this file stand for more than %d values: use fewer", maxAliased))
	}
	return doc.Content[0], 0, nil
}

// countAliased counts the values below n that are there by way of an alias, and returns the alias with which they are too
// many. It ends for an anchor that contains itself, too.
func (r *reader) countAliased(n *yaml.Node, aliased bool) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		if r.countAliased(n.Alias, true) != nil {
			return n
		}
		return nil
	}
	if aliased {
		if r.aliased++; r.aliased > maxAliased {
			return n
		}
	}
	for _, c := range n.Content {
		if at := r.countAliased(c, aliased); at != nil {
			return at
		}
	}
	return nil
}
