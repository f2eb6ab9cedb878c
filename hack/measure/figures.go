package measure

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Median of values, of which there is at least one.
func Median[T cmp.Ordered](values []T) T { return Percentile(values, 50) }

// Percentile is the smallest value that at least so many percent of the values do not exceed.
func Percentile[T cmp.Ordered](values []T, percent int) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*percent+99)/100-1]
}

// Each takes one figure out of many results.
func Each[R, T any](results []R, figure func(R) T) []T {
	var figures []T
	for _, r := range results {
		figures = append(figures, figure(r))
	}
	return figures
}

// Verdict is one thing to be reached.
type Verdict struct {
	What, Measured, Target string
	Met                    bool
}

// AtMost judges a figure, which write writes.
func AtMost[T cmp.Ordered](what string, measured, target T, write func(T) string) Verdict {
	return Verdict{What: what, Measured: write(measured), Target: "at most " + write(target), Met: measured <= target}
}

// Seconds writes a time.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// Megabytes writes a number of bytes.
func Megabytes(bytes int) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// PrintVerdicts prints what was measured beside what was to be reached.
func PrintVerdicts(out io.Writer, verdicts []Verdict) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "waymark\tmeasured\ttarget\t")
	for _, v := range verdicts {
		met := "met"
		if !v.Met {
			met = "missed"
		}
		fmt.Fprintln(w, strings.Join([]string{v.What, v.Measured, v.Target, met}, "\t"))
	}
	_ = w.Flush()
}
