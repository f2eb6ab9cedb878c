package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/waymark-bgp/waymark/route/export"
)

// diffReport is what a router has beside what the cluster needs.
type diffReport struct {
	Gateway  string          `json:"gateway"`
	Format   string          `json:"format"`
	Right    int             `json:"right"`   // static routes that are as wanted
	Foreign  int             `json:"foreign"` // those that are not the cluster's
	Findings []diffFinding   `json:"findings"`
	Unread   []export.Unread `json:"unread"`
	Missing  []string        `json:"missing"` // what no gateway can have a route to

	want       []export.Route
	have       []export.Static
	difference export.Difference
	bare       string // the name of a text without static routes; "": it has some
	narrow     bool   // nothing says which ranges are the cluster's
}

// diffFinding is one difference. Enter and Undo are commands; none where the format has no commands.
type diffFinding struct {
	Kind  string         `json:"kind"`
	Have  *export.Static `json:"have,omitempty"`
	Want  *export.Route  `json:"want,omitempty"`
	Why   string         `json:"why,omitempty"`
	Enter string         `json:"enter,omitempty"`
	Undo  string         `json:"undo,omitempty"`
}

// find puts the differences into words and commands.
func (r *diffReport) find() error {
	r.Findings = []diffFinding{}
	r.Unread = append([]export.Unread{}, r.Unread...)
	r.Missing = append([]string{}, r.Missing...)
	d := &r.difference
	var all error
	add := func(kind string, have *export.Static, want *export.Route, why string, only export.Difference) {
		f := diffFinding{Kind: kind, Have: have, Want: want, Why: why}
		var err error
		if f.Enter, f.Undo, err = only.Commands(r.Format); err != nil && !errors.Is(err, export.ErrNoCommand) {
			all = cmp.Or(all, err)
		}
		r.Findings = append(r.Findings, f)
	}
	for i := range d.Add {
		add("missing", nil, &d.Add[i], "", export.Difference{Add: d.Add[i : i+1]})
	}
	for i := range d.NearMiss {
		c := d.NearMiss[i]
		if c.Leave {
			c.Why += "; --fix leaves it, since it is outside the cluster's ranges and may be somebody else's"
			c.Leave = false // the undo is shown
		}
		add("near miss", &c.Have, &c.Want, c.Why, export.Difference{NearMiss: []export.Change{c}})
	}
	for i := range d.Wrong {
		c := &d.Wrong[i]
		add("wrong", &c.Have, &c.Want, c.Why, export.Difference{Wrong: d.Wrong[i : i+1]})
	}
	for i := range d.Overlap {
		c := &d.Overlap[i]
		add("overlap", &c.Have, &c.Want, c.Why, export.Difference{Overlap: d.Overlap[i : i+1]})
	}
	for i := range d.Remove {
		add("remove", &d.Remove[i], nil, "inside the cluster's ranges, and for no node", export.Difference{Remove: d.Remove[i : i+1]})
	}
	return all
}

// kinds of findings, in the order of their importance.
var kinds = []string{"near miss", "wrong", "missing", "overlap", "remove"}

func (r *diffReport) print(w io.Writer) error {
	count := map[string]int{}
	for _, f := range r.Findings {
		count[f.Kind]++
	}
	parts := []string{fmt.Sprintf("%d right", r.Right)}
	for _, k := range kinds {
		if count[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[k], k))
		}
	}
	if len(r.Unread) > 0 {
		parts = append(parts, fmt.Sprintf("%d not read", len(r.Unread)))
	}
	if len(parts) == 1 {
		parts = append(parts, "in step")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s: %s; foreign and left alone: %d\n", r.Gateway, r.Format, strings.Join(parts, ", "), r.Foreign)
	for _, k := range kinds {
		for i := range r.Findings {
			if f := &r.Findings[i]; f.Kind == k {
				f.print(&b)
			}
		}
	}
	for _, u := range r.Unread {
		fmt.Fprintf(&b, "\nnot read, line %d: %s\n  %s\n", u.Line, u.Text, u.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f *diffFinding) print(b *strings.Builder) {
	b.WriteByte('\n')
	if f.Have == nil {
		fmt.Fprintf(b, "%s: %s\n", f.Kind, routeText(f.Want))
	} else {
		fmt.Fprintf(b, "%s, line %d: %s\n", f.Kind, f.Have.Line, f.Have.Text)
		if f.Want != nil {
			fmt.Fprintf(b, "  wanted: %s\n", routeText(f.Want))
		}
		fmt.Fprintf(b, "  %s\n", f.Why)
	}
	for line := range strings.Lines(f.Enter + f.Undo) {
		b.WriteString("    " + line)
	}
}

// routeText is a wanted route in words that are no router's.
func routeText(r *export.Route) string {
	text := fmt.Sprintf("%s via %s", r.Prefix, r.NextHop)
	if r.Name != "" {
		text += " (" + r.Name + ")"
	}
	return text
}

// print writes a report, or the commands alone, and says by its error what the exit status is.
func (o *diffOptions) print(out, notes io.Writer, r *diffReport) error {
	if o.fix {
		if err := r.printFix(out, notes); err != nil {
			return err
		}
	} else if err := errors.Join(r.find(), show(out, o.output, r, r.print)); err != nil {
		return err
	}
	if r.bare != "" {
		fmt.Fprintf(notes, "%s has no static route at all: is it the whole of what the router shows?\n", r.bare)
	}
	if r.narrow {
		fmt.Fprintln(notes, "routes of nodes that are gone are not looked for: neither --within nor the DatacenterNetwork's clusterCIDRs say where they would be")
	}
	for _, m := range r.Missing {
		fmt.Fprintln(notes, "no route:", m)
	}
	if !r.difference.Empty() || len(r.Unread)+len(r.Missing) > 0 {
		return errFound
	}
	return nil
}

func (r *diffReport) printFix(out, notes io.Writer) error {
	for _, u := range r.Unread {
		fmt.Fprintf(notes, "not read, line %d: %s: %s\n", u.Line, u.Text, u.Reason)
	}
	for _, c := range r.difference.NearMiss {
		if c.Leave {
			fmt.Fprintf(notes, "not removed, line %d: %s: it may be a slip of %s, or somebody else's\n", c.Have.Line, c.Have.Text, c.Want.Prefix)
		}
	}
	if r.difference.Empty() {
		return nil
	}
	text, err := r.difference.Fix(r.Format)
	if errors.Is(err, export.ErrNoCommand) {
		fmt.Fprintf(notes, "%s is no list of commands: this is the new whole, without foreign static routes, of which there are %d\n", r.Format, r.Foreign)
		text, err = export.Render(r.Format, r.want)
	}
	if err != nil {
		return fmt.Errorf("gateway %s: %w", r.Gateway, err)
	}
	_, err = io.WriteString(out, text)
	return err
}
