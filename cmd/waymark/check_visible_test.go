package main

import (
	"strings"
	"testing"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"pod shop/a\t10.244.1.7, 190µs\n": "pod shop/a\t10.244.1.7, 190µs\n",
		"\x1b[31mred\x1b]0;title\a":       `\x1b[31mred\x1b]0;title\a`,
		"back\rspace\b":                   `back\rspace\b`,
		"\u202egnp.exe \u009b31m":         `\u202egnp.exe \u009b31m`,
		"\xff\xfe �":                      `\xff\xfe �`,
	} {
		var b strings.Builder
		if n, err := (visible{&b}).Write([]byte(text)); n != len(text) || err != nil || b.String() != want {
			t.Errorf("%q: got %q, want %q (%d, %v)", text, b.String(), want, n, err)
		}
	}
}
