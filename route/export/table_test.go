package export

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTables: what is read of each dialect's table, line by line.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("testdata/tables/*.txt")
	if err != nil || len(files) < len(dialects) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			table, err := ReadTable(string(text))
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(strings.TrimSuffix(file, ".txt")+".read", "testdata/")
			golden(t, name, told(table))
			again, err := ReadTable(strings.ReplaceAll(string(text), "\n", "\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, told(again))
		})
	}
}

// told is a table as the goldens have it.
func told(table Table) string {
	var b strings.Builder
	for _, r := range table.Routes {
		fmt.Fprintf(&b, "%d %s\n", r.Line, r.Prefix)
	}
	for _, u := range table.Unread {
		fmt.Fprintf(&b, "unread %d: %s: %s\n", u.Line, u.Reason, u.Text)
	}
	if table.List {
		b.WriteString("a list\n")
	}
	return b.String()
}

// FuzzTable: a table that was cut or garbled anywhere is read without harm, and what is said of it is true.
func FuzzTable(f *testing.F) {
	files, err := filepath.Glob("testdata/tables/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		table, err := ReadTable(text)
		if err != nil {
			return
		}
		lines := strings.Count(text, "\n") + 1
		for _, r := range table.Routes {
			if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Line < 1 || r.Line > lines {
				t.Errorf("%+v of %d lines", r, lines)
			}
		}
		for _, u := range table.Unread {
			if u.Reason == "" || u.Line < 1 || u.Line > lines {
				t.Errorf("%+v of %d lines", u, lines)
			}
		}
	})
}

// TestGarbledTables: a line that was garbled changes nothing of what the others say.
func TestGarbledTables(t *testing.T) {
	files, err := filepath.Glob("testdata/tables/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewSource(1))
	garbled := 0
	for _, file := range files {
		if strings.Contains(file, "json") || strings.Contains(file, "csv") {
			continue // they are whole or nothing
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		table, err := ReadTable(text)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(text, "\n")
		except := func(line int, table Table) []TableRoute {
			return slices.DeleteFunc(slices.Clone(table.Routes), func(r TableRoute) bool { return r.Line == line })
		}
		for range 60 {
			at := table.Routes[random.Intn(len(table.Routes))].Line
			line := []byte(lines[at-1])
			switch i := random.Intn(len(line) - 1); random.Intn(3) {
			case 0:
				line = append(line[:i:i], '\n')
			case 1:
				line = append(line[:i:i], line[i+1:]...)
			default:
				line[i] = byte(33 + random.Intn(94))
			}
			changed := slices.Clone(lines)
			changed[at-1] = string(line)
			again, err := ReadTable(strings.Join(changed, ""))
			if err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			if got, want := except(at, again), except(at, table); !slices.Equal(got, want) {
				t.Fatalf("%s: %q: got %v, want %v", file, line, got, want)
			}
			garbled++
		}
	}
	if garbled < 1000 {
		t.Errorf("only %d", garbled)
	}
}
