package measure

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine says on what and of what this was measured.
func Machine() string {
	return fmt.Sprintf("%d CPUs (%s), %s of memory, Linux %s, load %s before\nwaymark %s (%s), %s, FRR %s, %s\n",
		runtime.NumCPU(), field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal"), strings.TrimSpace(read("/proc/sys/kernel/osrelease")),
		strings.Join(strings.Fields(read("/proc/loadavg"))[:3], " "),
		output("git", "describe", "--always", "--dirty"), runtime.Version(),
		output("bird", "--version"), output("dpkg-query", "-W", "-f", "${Version}", "frr"), output("ip", "-Version"))
}

func read(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// field is a value in a file of lines "key: value".
func field(path, key string) string {
	_, rest, _ := strings.Cut(read(path), key)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(line, " \t:")
}

// output is the first line that a command prints.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return name + ": unknown"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
