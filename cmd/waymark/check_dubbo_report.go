package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/waymark-bgp/waymark/registry"
)

// dubboReport is what has come of all that is registered.
type dubboReport struct {
	Providers int                 `json:"providers"`
	Addresses int                 `json:"addresses"`
	Findings  int                 `json:"findings"`
	Classes   []registry.Count    `json:"classes"`
	Bad       []registry.Bad      `json:"badEntries"`
	Endpoints []registry.Endpoint `json:"endpoints"`
	Notes     []string            `json:"notes"` // what is not known, and so was not judged by

	all bool // to be printed, too
}

func newDubboReport(entries registry.Entries, endpoints []registry.Endpoint, notes []string) dubboReport {
	r := dubboReport{
		Providers: len(entries.Providers), Addresses: len(endpoints), Findings: len(entries.Bad), Classes: registry.Counts(endpoints),
		Bad: list(entries.Bad), Endpoints: list(endpoints), Notes: list(notes),
	}
	for i := range endpoints {
		r.Findings += len(endpoints[i].Findings)
	}
	return r
}

func (r *dubboReport) write(w io.Writer, output string) error {
	switch output {
	case "junit":
		return r.junit(w)
	default:
		return show(w, output, r, r.print)
	}
}

const (
	findingsShown = 50
	pathShown     = 120 // characters
)

func (r *dubboReport) print(w io.Writer) error {
	p := tabwriter.NewWriter(visible{w}, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "%d providers at %d addresses, %d findings\n", r.Providers, r.Addresses, r.Findings)
	for _, n := range r.Notes {
		fmt.Fprintf(p, "Note: %s\n", n)
	}
	fmt.Fprintf(p, "\nCLASS\tADDRESSES\tPROVIDERS\tREACHED\n")
	for _, c := range r.Classes {
		fmt.Fprintf(p, "%s\t%d\t%d\t%d\n", c.Class, c.Addresses, c.Providers, c.Reachable)
	}
	if len(r.Classes) == 0 {
		fmt.Fprintln(p, "none")
	}
	if r.Findings > len(r.Bad) {
		fmt.Fprintf(p, "\nADDRESS\tWHOSE\tSERVICES\tREASON\tWHY\n")
	}
	shown, more := 0, 0
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		for _, f := range e.Findings {
			if shown++; shown > findingsShown && !r.all {
				more++
				continue
			}
			fmt.Fprintf(p, "%s\t%s\t%s\t%s\t%s\n", e.Address(), whose(e), services(e), f.Reason, f.Message)
		}
	}
	if more > 0 {
		fmt.Fprintf(p, "and %d more: --all prints them\n", more)
	}
	r.printBad(p)
	if r.all {
		r.printGood(p)
	}
	return p.Flush()
}

func (r *dubboReport) printBad(w io.Writer) {
	if len(r.Bad) > 0 {
		fmt.Fprintf(w, "\nNOT UNDERSTOOD\tWHY\n")
	}
	for i, b := range r.Bad {
		if i == findingsShown && !r.all {
			fmt.Fprintf(w, "and %d more: --all prints them\n", len(r.Bad)-i)
			return
		}
		fmt.Fprintf(w, "%s\t%s\n", printable(b.Path), b.Message)
	}
}

func (r *dubboReport) printGood(w io.Writer) {
	fmt.Fprintf(w, "\nGOOD ADDRESS\tWHOSE\tSERVICES\tANSWERS TO\tANNOUNCED TO\n")
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		if len(e.Findings) > 0 {
			continue
		}
		var spoken []string
		for _, a := range e.Answers {
			if a.Speech == registry.Speaks {
				spoken = append(spoken, a.Protocol)
			} else {
				spoken = append(spoken, "TCP")
			}
		}
		slices.Sort(spoken)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Address(), whose(e), services(e), strings.Join(slices.Compact(spoken), ", "), orNone(strings.Join(e.Announced, ", ")))
	}
}

// printable is a text of strangers as one line that cannot play with the terminal.
func printable(s string) string {
	if len(s) > pathShown {
		s = s[:pathShown] + "..."
	}
	quoted := fmt.Sprintf("%q", s)
	return quoted[1 : len(quoted)-1]
}

func whose(e *registry.Endpoint) string {
	text := string(e.Class)
	if e.Whose != "" {
		text += " " + e.Whose
	}
	if e.Node != "" && e.Class == registry.NodeAddress {
		text += " " + e.Node
	} else if e.Node != "" {
		text += " on " + e.Node
	}
	return text
}

// services names one, and how many others there are.
func services(e *registry.Endpoint) string {
	var names []string
	for _, p := range e.Providers {
		names = append(names, p.Service())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

// junit writes a test case for each address and for each entry that is not understood.
func (r *dubboReport) junit(w io.Writer) error {
	type failure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
	}
	type testcase struct {
		Class    string    `xml:"classname,attr"`
		Name     string    `xml:"name,attr"`
		Failures []failure `xml:"failure"`
	}
	type testsuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"` // test cases that fail
		Cases    []testcase `xml:"testcase"`
	}
	suite := testsuite{Name: "waymark check dubbo"}
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		c := testcase{Class: services(e), Name: e.Address()}
		for _, f := range e.Findings {
			c.Failures = append(c.Failures, failure{string(f.Reason), f.Message})
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, b := range r.Bad {
		suite.Cases = append(suite.Cases, testcase{b.Registry, printable(b.Path), []failure{{string(registry.BadEntry), b.Message}}})
	}
	for _, c := range suite.Cases {
		suite.Tests++
		suite.Failures += min(len(c.Failures), 1)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
