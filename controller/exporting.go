package controller

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
)

const shownLines = 50 // of lists and texts in a status

// exportRefusal is why there are no commands, or no new ones.
type exportRefusal struct {
	reason string // of the condition
	err    error
}

func (r *exportRefusal) Error() string { return r.err.Error() }
func (r *exportRefusal) Unwrap() error { return r.err }

// exporting is what one pass has of an export.
type exporting struct {
	*v1alpha1.StaticRouteExport
	format   string
	plain    []export.Route // without what the export gives all routes
	routes   []export.Route
	commands string // that the router needs
	diff     string // that bring it in step, as far as it is known what it has
	compared bool   // diff is of what the router has
}

func newExporting(e *v1alpha1.StaticRouteExport, want *agent.StaticRoutes) (*exporting, error) {
	gateway := want.Gateways[0]
	x := &exporting{StaticRouteExport: e, format: cmp.Or(e.Spec.Format, gateway.Dialect), plain: want.Routes[gateway.Name]}
	common := export.Common{VRF: e.Spec.VRF, NamePrefix: e.Spec.NamePrefix, BFD: e.Spec.BFD, Aggregate: e.Spec.Aggregate}
	if p := e.Spec.Preference; p != nil {
		common.Preference = *p
	}
	if t := e.Spec.Tag; t != nil {
		common.Tag = uint32(*t)
	}
	if t := e.Spec.Track; t != nil {
		common.Track = uint16(*t)
	}
	x.routes = common.Apply(x.plain)
	text, err := export.Render(x.format, x.routes)
	if err != nil {
		return nil, &exportRefusal{"NotInFormat", err}
	}
	x.commands = text
	return x, nil
}

// runningText is what the router has, as somebody has put it down. missing says why there is none.
type runningText struct{ text, missing string }

// compare says in the status how the router differs from what it is to have.
func (x *exporting) compare(running *runningText, sources *exportSources) []notice {
	e := x.StaticRouteExport
	e.Status.Difference = nil
	if running == nil {
		unsay(e, v1alpha1.ConditionInStep)
		return nil
	}
	x.compared = true
	unknown := func(why string) []notice {
		return say(e, v1alpha1.ConditionInStep, metav1.ConditionUnknown, "NotRead", why)
	}
	if running.missing != "" {
		return unknown(running.missing)
	}
	have, unread, err := export.Parse(x.format, running.text)
	if err != nil {
		return unknown(err.Error())
	}
	have = slices.DeleteFunc(have, func(s export.Static) bool { return s.Gateway != "" && s.Gateway != e.Spec.Gateway })
	d := export.Diff(x.routes, have, agent.StaticRanges(nil, sources.nodes, sources.networks, sources.pools, x.plain))
	x.diff = fixes(x.format, d)
	for _, u := range unread {
		x.diff += fmt.Sprintf("line %d is not read, %s: %s\n", u.Line, u.Reason, u.Text)
	}
	e.Status.Difference = &v1alpha1.RouteDifference{
		Right: int32(d.Right), Missing: int32(len(d.Add)), NearMiss: int32(len(d.NearMiss)), Wrong: int32(len(d.Wrong)),
		Overlap: int32(len(d.Overlap)), Remove: int32(len(d.Remove)), Unread: int32(len(unread)), Foreign: int32(d.Foreign),
		Lines: firstLines(x.diff),
	}
	switch {
	case !d.Empty():
		return say(e, v1alpha1.ConditionInStep, metav1.ConditionFalse, "Differs", summarize(d, "missing", "near miss", "wrong", "overlapping", "to remove"))
	case len(unread) > 0:
		return unknown(fmt.Sprintf("line %d: %s: %s", unread[0].Line, unread[0].Reason, unread[0].Text))
	}
	return say(e, v1alpha1.ConditionInStep, metav1.ConditionTrue, "InStep", "")
}

// since compares the routes with the commands that were published before, and says what has changed.
func (x *exporting) since(before string) (string, error) {
	have, _, err := export.Parse(x.format, before)
	if err != nil {
		return "", err
	}
	var within []netip.Prefix
	for _, h := range have {
		within = append(within, h.Prefix)
	}
	d := export.Diff(x.routes, have, within)
	x.diff = fixes(x.format, d)
	return summarize(d, "new", "like one before", "changed", "overlapping", "gone"), nil
}

// fixes are the commands of a difference; where the format has none, what differs in words.
func fixes(format string, d export.Difference) string {
	text, err := d.Fix(format)
	if err == nil {
		return text
	}
	if !errors.Is(err, export.ErrNoCommand) {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, r := range d.Add {
		fmt.Fprintf(&b, "missing: %s through %s\n", r.Prefix, r.NextHop)
	}
	for _, list := range []struct {
		word    string
		changes []export.Change
	}{{"near miss", d.NearMiss}, {"wrong", d.Wrong}, {"overlap", d.Overlap}} {
		for _, c := range list.changes {
			fmt.Fprintf(&b, "%s: %s: want %s through %s: %s\n", list.word, c.Have.Text, c.Want.Prefix, c.Want.NextHop, c.Why)
		}
	}
	for _, s := range d.Remove {
		fmt.Fprintf(&b, "remove: %s\n", s.Text)
	}
	return b.String()
}

// summarize counts what differs, with a word for each: "2 missing, 1 wrong".
func summarize(d export.Difference, add, near, wrong, overlap, remove string) string {
	words := []string{add, near, wrong, overlap, remove}
	var parts []string
	for i, n := range []int{len(d.Add), len(d.NearMiss), len(d.Wrong), len(d.Overlap), len(d.Remove)} {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, words[i]))
		}
	}
	return strings.Join(parts, ", ")
}

func firstLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if len(lines) == shownLines {
			break
		}
		lines = append(lines, short(strings.TrimSuffix(line, "\n")))
	}
	return lines
}
