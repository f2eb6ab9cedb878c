package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Usage is what processes take.
type Usage struct {
	Resident, Anonymous, Peak int // bytes
	CPU                       time.Duration
}

// clockTick is the unit of CPU time in /proc/PID/stat (USER_HZ, 100 on every architecture that Go and Linux share).
const clockTick = 10 * time.Millisecond

// UsageOf adds up what processes take now.
func UsageOf(processes []*nettest.Process) (Usage, error) {
	var sum Usage
	for _, p := range processes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if err != nil {
			return sum, err
		}
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(line, ":")
			into := map[string]*int{"VmRSS": &sum.Resident, "RssAnon": &sum.Anonymous, "VmHWM": &sum.Peak}[key]
			if into == nil {
				continue
			}
			kilobytes, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				return sum, fmt.Errorf("read %q: %w", line, err)
			}
			*into += kilobytes * 1024
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		if err != nil {
			return sum, err
		}
		// The name before the last parenthesis may contain anything; utime and stime are fields 14 and 15 of all.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.Atoi(field)
			if err != nil {
				return sum, fmt.Errorf("read CPU time %q: %w", field, err)
			}
			sum.CPU += time.Duration(ticks) * clockTick
		}
	}
	return sum, nil
}

// RoutesSeen counts the IPv4 routes in the network namespace of a process. The kernel walks its tree to answer, without
// building a message for each route, so that looking often costs little.
func RoutesSeen(pid int) (int, error) {
	path := fmt.Sprintf("/proc/%d/net/fib_triestat", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, main, _ := strings.Cut(string(text), "Main:")
	_, after, found := strings.Cut(main, "Prefixes:")
	if !found {
		return 0, fmt.Errorf("no count of the main table in %s", path)
	}
	return strconv.Atoi(strings.Fields(after)[0])
}
