package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// median of values, of which there is at least one.
func median[T cmp.Ordered](values []T) T { return percentile(values, 50) }

// percentile is the smallest value that at least so many percent of the values do not exceed.
func percentile[T cmp.Ordered](values []T, percent int) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*percent+99)/100-1]
}

// each takes one figure out of many results.
func each[R, T any](results []R, figure func(R) T) []T {
	var figures []T
	for _, r := range results {
		figures = append(figures, figure(r))
	}
	return figures
}

// verdict is one thing to be reached.
type verdict struct {
	what, measured, target string
	met                    bool
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

func megabytes(bytes int) string { return fmt.Sprintf("%.0f MB", float64(bytes)/1e6) }

// learnedTable prints who learned n routes how.
func learnedTable(out io.Writer, n int, names []string, results map[string][]learned) {
	fmt.Fprintf(out, "\n%d routes learned\n", n)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\tin the kernel\t(least..most)\tx floor\tresident\tof it anonymous\tpeak\tCPU")
	floor := median(each(results[names[0]], func(l learned) time.Duration { return l.took }))
	for _, name := range names {
		r := results[name]
		took := each(r, func(l learned) time.Duration { return l.took })
		fmt.Fprintf(w, "%s\t%s\t%.2f..%.2f\t%.1f", name, seconds(median(took)), slices.Min(took).Seconds(), slices.Max(took).Seconds(),
			median(took).Seconds()/floor.Seconds())
		if r[0].resident == 0 {
			fmt.Fprint(w, "\t\t\t")
		} else {
			fmt.Fprintf(w, "\t%s\t%s\t%s", megabytes(median(each(r, func(l learned) int { return l.resident }))),
				megabytes(median(each(r, func(l learned) int { return l.anonymous }))),
				megabytes(median(each(r, func(l learned) int { return l.peak }))))
		}
		fmt.Fprintf(w, "\t%.2f s\n", median(each(r, func(l learned) time.Duration { return l.cpu })).Seconds())
	}
	_ = w.Flush()
}

// latencyTable prints how long something took with each reflector.
func latencyTable(out io.Writer, title string, results map[string][]time.Duration) {
	fmt.Fprintf(out, "\n%s\n", title)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "reflector\ttimes\tmedian\t99th percentile\tmost")
	for _, r := range reflectors {
		took := results[r.name]
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", r.name, len(took), seconds(median(took)), seconds(percentile(took, 99)), seconds(slices.Max(took)))
	}
	_ = w.Flush()
}

func verdictTable(out io.Writer, verdicts []verdict) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "waymark\tmeasured\ttarget\t")
	for _, v := range verdicts {
		met := "met"
		if !v.met {
			met = "NOT MET"
		}
		fmt.Fprintln(w, strings.Join([]string{v.what, v.measured, v.target, met}, "\t"))
	}
	_ = w.Flush()
}
