package main

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// visible writes text for a terminal. Registries and servers are strangers: what they say may not move the cursor, change
// colours or turn the direction of writing, and is shown escaped, as Go writes it.
type visible struct{ io.Writer }

// Write implements io.Writer.
func (v visible) Write(p []byte) (int, error) {
	var out []byte
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == '\n' || r == '\t' || unicode.IsPrint(r) && !(r == utf8.RuneError && size == 1) {
			out = append(out, rest[:size]...)
		} else {
			quoted := fmt.Sprintf("%q", rest[:size])
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		rest = rest[size:]
	}
	if _, err := v.Writer.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
