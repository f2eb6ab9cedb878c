package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
)

// learnedTable prints who learned n routes how.
func learnedTable(out io.Writer, n int, names []string, results map[string][]learned) {
	fmt.Fprintf(out, "\n%d routes learned\n", n)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\tin the kernel\t(least..most)\tx floor\tresident\tof it anonymous\tpeak\tCPU")
	floor := measure.Median(measure.Each(results[names[0]], func(l learned) time.Duration { return l.took }))
	for _, name := range names {
		r := results[name]
		took := measure.Each(r, func(l learned) time.Duration { return l.took })
		fmt.Fprintf(w, "%s\t%s\t%.2f..%.2f\t%.1f", name, measure.Seconds(measure.Median(took)), slices.Min(took).Seconds(), slices.Max(took).Seconds(),
			measure.Median(took).Seconds()/floor.Seconds())
		if r[0].Resident == 0 {
			fmt.Fprint(w, "\t\t\t")
		} else {
			fmt.Fprintf(w, "\t%s\t%s\t%s", measure.Megabytes(measure.Median(measure.Each(r, func(l learned) int { return l.Resident }))),
				measure.Megabytes(measure.Median(measure.Each(r, func(l learned) int { return l.Anonymous }))),
				measure.Megabytes(measure.Median(measure.Each(r, func(l learned) int { return l.Peak }))))
		}
		fmt.Fprintf(w, "\t%.2f s\n", measure.Median(measure.Each(r, func(l learned) time.Duration { return l.CPU })).Seconds())
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
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", r.name, len(took), measure.Seconds(measure.Median(took)), measure.Seconds(measure.Percentile(took, 99)), measure.Seconds(slices.Max(took)))
	}
	_ = w.Flush()
}
