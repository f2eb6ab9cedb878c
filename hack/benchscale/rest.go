package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
)

// auditPolicy writes a policy by which the API server logs each request of an agent once, when it comes.
func auditPolicy(s *measure.Scope) string {
	path := filepath.Join(s.TempDir(), "policy.yaml")
	s.Check(os.WriteFile(path, []byte(`
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules:
- {level: Metadata, users: ["system:serviceaccount:waymark-system:waymark-agent"]}
- {level: None}
`), 0o600), "write the audit policy")
	return path
}

// request is a line of the audit log.
type request struct {
	Verb      string
	ObjectRef struct{ Resource, Subresource string }
	User      struct{ Extra map[string][]string }
	Received  time.Time `json:"requestReceivedTimestamp"`
}

// benchRest counts what the agents ask of the API server while nothing happens. A watch lasts 10 to 20 minutes: a shorter
// window sees few of them begin anew.
func (c *cluster) benchRest(s *measure.Scope, window time.Duration) []measure.Verdict {
	measure.Progress("%d agents at rest, until %s", agents, time.Now().Add(window).Format(time.TimeOnly))
	begin := time.Now()
	time.Sleep(window)
	end := time.Now()
	kinds, nodes := map[string]int{}, map[string]int{}
	before := 0
	log, err := os.Open(c.audit)
	s.Check(err, "audit log")
	defer log.Close()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		s.Check(json.Unmarshal(lines.Bytes(), &r), "audit log")
		if r.Received.Before(begin) {
			before++
		}
		if r.Received.Before(begin) || r.Received.After(end) {
			continue
		}
		kinds[strings.TrimSuffix(r.Verb+" "+r.ObjectRef.Resource+"/"+r.ObjectRef.Subresource, "/")]++
		for _, node := range r.User.Extra["authentication.kubernetes.io/node-name"] {
			nodes[node]++
		}
	}
	s.Check(lines.Err(), "audit log")
	if before == 0 {
		s.Fatal("the audit log does not even have the requests with which the agents began")
	}
	perMinute := func(n int) float64 { return float64(n) / window.Minutes() }
	most, sum := 0, 0
	for _, n := range nodes {
		most, sum = max(most, n), sum+n
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\nrequests of %d agents in %v\t\n", agents, window)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(w, "%s\t%d\n", kind, kinds[kind])
	}
	fmt.Fprintf(w, "a minute, mean of the agents\t%.2f\n", perMinute(sum)/agents)
	_ = w.Flush()
	return []measure.Verdict{measure.AtMost("requests a minute at rest, of the agent with most", perMinute(most), requestTarget,
		func(n float64) string { return fmt.Sprintf("%.2f", n) })}
}
