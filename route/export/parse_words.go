package export

import "strings"

// lexer splits the lines of a configuration into words. A word in quotes is one, without them.
type lexer struct {
	marks   string   // characters that are words of their own wherever they stand
	comment string   // begins a comment where a word may begin; "": there are none
	block   bool     // comments of C may stand anywhere
	open    bool     // such a comment has not ended yet
	words   []string // of the line; the next one overwrites them
}

// split returns the line's words, and the last comment.
func (l *lexer) split(line string) (w []string, comment string) {
	l.words = l.words[:0]
	for {
		if l.open {
			text, rest, ended := strings.Cut(line, "*/")
			comment = strings.TrimSpace(text)
			if !ended {
				return l.words, comment
			}
			line, l.open = rest, false
		}
		line = strings.TrimLeft(line, " \t\r")
		switch {
		case line == "":
			return l.words, comment
		case l.comment != "" && strings.HasPrefix(line, l.comment):
			return l.words, strings.TrimSpace(line[len(l.comment):])
		case l.block && strings.HasPrefix(line, "/*"):
			line, l.open = line[2:], true
			continue
		}
		var word string
		word, line = l.word(line)
		l.words = append(l.words, word)
	}
}

// word cuts the first word off.
func (l *lexer) word(line string) (word, rest string) {
	if line[0] == '"' || line[0] == '\'' {
		// An apostrophe without another one is a letter.
		if end := closing(line); end > 0 {
			word, rest = line[1:end], line[end+1:]
			if strings.IndexByte(word, '\\') >= 0 {
				word = unescape.Replace(word)
			}
			if len(word) == 1 && strings.Contains(l.marks, word) {
				word = ""
			}
			return word, rest
		}
	}
	if strings.IndexByte(l.marks, line[0]) >= 0 {
		return line[:1], line[1:]
	}
	end := 1
	for end < len(line) && strings.IndexByte(" \t\r", line[end]) < 0 && strings.IndexByte(l.marks, line[end]) < 0 {
		end++
	}
	return line[:end], line[end:]
}

var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

// closing is where the quotation ends that begins a line; 0: nowhere.
func closing(line string) int {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case line[0]:
			return i
		}
	}
	return 0
}

// phrase are words that are read one after the other.
type phrase []string

// take is the next word; "": there is none.
func (p *phrase) take() string {
	if len(*p) == 0 {
		return ""
	}
	word := (*p)[0]
	*p = (*p)[1:]
	return word
}

// peek is the next word, which stays.
func (p *phrase) peek() string {
	if len(*p) == 0 {
		return ""
	}
	return (*p)[0]
}

// skip takes the next words if they are these.
func (p *phrase) skip(words ...string) bool {
	if len(*p) < len(words) {
		return false
	}
	for i, word := range words {
		if (*p)[i] != word {
			return false
		}
	}
	*p = (*p)[len(words):]
	return true
}
