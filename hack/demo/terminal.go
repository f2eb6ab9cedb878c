package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The lines of a log that are shown when a step fails.
const logLines = 15

// announce prints a command as a reader could type it.
func (s *story) announce(args ...string) { fmt.Println("   $", commandLine(args)) }

func commandLine(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if strings.ContainsAny(arg, " |{") {
			quoted[i] = "'" + arg + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func (s *story) output(text string) {
	for line := range strings.Lines(text + "\n") {
		fmt.Println(strings.TrimRight("     "+line, " \n"))
	}
}

func (s *story) note(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// try runs a command and prints it with its output.
func (s *story) try(ctx context.Context, args ...string) (string, error) {
	s.announce(args...)
	out, err := capture(ctx, args...)
	s.output(out)
	return out, err
}

// show is try for output that is only to be read.
func (s *story) show(ctx context.Context, args ...string) error {
	_, err := s.try(ctx, args...)
	return err
}

// measure keeps a result for the summary.
func (s *story) measure(what, format string, args ...any) {
	s.measured = append(s.measured, [2]string{what, fmt.Sprintf(format, args...)})
}

func (s *story) summary() {
	fmt.Print("\nSummary\n\n")
	for _, m := range s.measured {
		fmt.Printf("   %-22s%s\n", m[0], m[1])
	}
}

func (s *story) showLogs() {
	for _, name := range slices.Sorted(maps.Keys(s.lab.daemons)) {
		text, err := os.ReadFile(logPath(name))
		if err != nil || len(text) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		fmt.Printf("\nThe end of %s:\n", logPath(name))
		s.output(strings.Join(lines[max(0, len(lines)-logLines):], "\n"))
	}
}

// hint is a command that somebody may want to try.
type hint struct{ what, command string }

func (s *story) lookAround() {
	n := nodes[0]
	fmt.Println("\nThe datacenter stays up. To look around, from this directory:")
	hints := []hint{
		{"a node's state", "bin/waymark status --run-dir " + n.runDir()},
		{"its BGP", "bin/gobgp --target unix://" + filepath.Join(n.runDir(), "gobgp.sock") + " neighbor"},
		{"the reflector's routes", "bin/gobgp --target unix://" + reflectorSocket + " global rib"},
		{"what a node has learned", "ip -n " + n.ns() + " route show proto 179"},
		{"with which source pods leave", commandLine(within(n.ns(), "nft", "list", "table", "inet", "waymark"))},
		{"metrics", commandLine(within(n.ns(), "curl", "-s", "127.0.0.1:9470/metrics")) + " | grep ^waymark"},
		{"what the gateway without BGP has", "ip -n " + core + " route show"},
		{"a pod, from the outside host", commandLine(curl(outside, n.pod))},
		{"how the registry sees a pod", commandLine(askRegistry(n.podNS(), registry))},
		{"a shell on a node", commandLine(within(n.ns(), "bash"))},
		{"the logs", "ls " + logDir},
	}
	change := changeFiles
	if c := s.lab.cluster; c != nil {
		fmt.Printf("\n   $ export KUBECONFIG=%s KUBECACHEDIR=%s PATH=$PWD/bin/kube:$PWD/bin:$PATH\n", os.Getenv("KUBECONFIG"), os.Getenv("KUBECACHEDIR"))
		hints, change = append(c.hints(), hints...), c.change
	}
	for _, hint := range hints {
		fmt.Printf("\n   # %s\n   $ %s\n", hint.what, hint.command)
	}
	fmt.Print(change(commandLine(askRegistry(n.podNS(), registry))))
	fmt.Print("\nmake demo-down removes everything.\n")
}

// changeFiles has things to try. Ask is how a pod asks the registry.
func changeFiles(ask string) string {
	n := nodes[0]
	return fmt.Sprintf(`
Now change something. The objects are files in %s, and a change takes effect at once.
Ask the registry whom it sees, hide the pods of %s behind their node, and ask again:

   $ %[3]s
     %[4]s
   $ sed -i 's/source: Pod/source: Node/' %[5]s
   $ %[3]s
     %[6]s

And back, with source: Pod again. Misspell a word there, and look at waymark status: nothing is lost.
`, n.manifestsDir(), n.name, ask, "/"+n.pod+":...", filepath.Join(n.manifestsDir(), "sources.yaml"), "/"+n.address+":...")
}
