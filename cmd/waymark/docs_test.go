package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestDocsShowRealOutput: what the pages for network admins show is what the commands print for docs/examples. Those that send
// packets were run in namespaces, and are only parsed here.
func TestDocsShowRealOutput(t *testing.T) {
	t.Chdir(filepath.Join("..", "..", "docs", "examples"))
	for _, page := range []string{"../network-admins.md", "../network-admins.zh.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```console\n")[1:]
		if len(blocks) < 5 {
			t.Errorf("%s: %d commands", page, len(blocks))
		}
		for _, block := range blocks {
			block, _, _ = strings.Cut(block, "```")
			line, want, _ := strings.Cut(block, "\n")
			words := strings.Fields(strings.TrimPrefix(line, "$ waymark "))
			if strings.Contains(line, "--probe") {
				cmd, flags, err := rootCommand("waymark").Find(words)
				if err = errors.Join(err, cmd.ParseFlags(flags)); err != nil {
					t.Errorf("%s: %s: %v", page, line, err)
				}
				continue
			}
			got, err := run(t, "", words...)
			if err != nil && !errors.Is(err, errFound) {
				t.Errorf("%s: %s: %v", page, line, err)
			}
			if !shortened(want).MatchString(got) {
				t.Errorf("%s: %s prints\n%s\nnot\n%s", page, line, got, want)
			}
		}
	}
}

// shortened matches the text, in which a line of three dots is for any lines.
func shortened(text string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(text), `\.\.\.`+"\n", `(?s:.*)`) + `$`)
}

// TestEveryCommandIsExplained: each command that does something has a text like a man page, with its exit status and an example
// of it.
func TestEveryCommandIsExplained(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			check(child)
		}
		if !cmd.Runnable() {
			return
		}
		if !strings.Contains(cmd.Long, "Exit status: 0 ") {
			t.Errorf("%s: the text does not say the exit status:\n%s", cmd.CommandPath(), cmd.Long)
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: no example:\n%s", cmd.CommandPath(), cmd.Example)
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(strings.TrimSuffix(line, "\n")) > 140 {
				t.Errorf("%s: a line of %d characters: %s", cmd.CommandPath(), len(line), line)
			}
		}
	}
	check(rootCommand("waymark"))
}
