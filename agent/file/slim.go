package file

import (
	"bytes"
	"io"
	"strings"
)

// Slim reads a file of manifests. Of JSON it leaves out indentation, and the images that nodes list, which are most of what kubectl
// prints of them; the lines stay the same. All else is as it is.
func Slim(from io.Reader) ([]byte, error) {
	var s slimmer
	chunk := make([]byte, 64<<10)
	for {
		n, err := from.Read(chunk)
		s.take(chunk[:n])
		if err == io.EOF {
			return s.kept.Bytes(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// images is the name of the list that is left out, and its beginning.
var images = []byte(`"images":[`)

// slimmer is what Slim has seen so far.
type slimmer struct {
	kept   bytes.Buffer
	format byte // the first byte that is neither a space nor a byte order mark; 0: none yet
	// Where in JSON the text is:
	quoted, escaped bool
	skipped         int // brackets that are open in a list that is left out
}

func (s *slimmer) take(chunk []byte) {
	if s.format == 0 {
		for _, c := range chunk {
			if strings.IndexByte("\ufeff \t\r\n", c) < 0 {
				s.format = c
				break
			}
		}
	}
	if s.format != '{' {
		s.kept.Write(chunk)
		return
	}
	from := 0 // what is not decided yet
	keep := func(to int) {
		if s.skipped == 0 && from < to {
			s.kept.Write(chunk[from:to])
		}
		from = to
	}
	for at := 0; at < len(chunk); at++ {
		c := chunk[at]
		switch {
		case s.escaped:
			s.escaped = false
		case s.quoted:
			length := bytes.IndexByte(chunk[at:], '"')
			if length < 0 {
				length = len(chunk) - at
			}
			if escape := bytes.IndexByte(chunk[at:at+length], '\\'); escape >= 0 {
				at, s.escaped = at+escape, true
				continue
			}
			at += length
			s.quoted = at == len(chunk)
		case c == '"':
			s.quoted = true
		case c == '\n':
			keep(at)
			s.kept.WriteByte('\n')
			from = at + 1
		case c == ' ':
			keep(at)
			for at+1 < len(chunk) && chunk[at+1] == ' ' {
				at++
			}
			from = at + 1
		case s.skipped > 0 && c == '[':
			s.skipped++
		case s.skipped > 1 && c == ']':
			s.skipped--
		case s.skipped == 1 && c == ']':
			from, s.skipped = at, 0
		case c == '[':
			keep(at + 1)
			if bytes.HasSuffix(s.kept.Bytes(), images) {
				s.skipped = 1
			}
		}
	}
	keep(len(chunk))
}
