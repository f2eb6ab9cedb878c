package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
)

// Of the static routes of a cluster.
const (
	staticRuns   = 5
	staticImages = 30 // on each node; a kubelet tells of up to 50

	exportTook     = 500 * time.Millisecond
	diffTook       = time.Second
	staticResident = 100e6 // bytes
)

// benchStatic measures what a network admin waits for: the static routes of n nodes with two families, and what of them a router
// has not, each from files, as a process of its own. No other program does that, so that there is nothing to put beside it. It
// must come before what takes memory: a process is told at least the peak of the one that started it.
func benchStatic(out io.Writer, n int) ([]measure.Verdict, error) {
	if n == 0 {
		return nil, nil
	}
	measure.Progress("static routes of %d nodes, %d times each", n, staticRuns)
	var size int64
	results := map[string][]checked{}
	kinds := []string{"export", "diff", "diff --fix"}
	err := measure.In(func(s *measure.Scope) {
		dir := s.TempDir()
		cluster, running := filepath.Join(dir, "cluster.json"), filepath.Join(dir, "running.cfg")
		size = writeNodes(s, cluster, n)
		common := []string{"--from", cluster, "--format", "frr"}
		routes, _ := waymarkRoutes(s, n, append([]string{"export"}, common...)...)
		s.Check(os.WriteFile(running, []byte(disorder(routes)), 0o600), "write a router's configuration")
		for range staticRuns {
			for _, kind := range kinds {
				args := append(strings.Fields(kind), common...)
				if kind != "export" {
					args = append(args, "--running", running)
				}
				_, c := waymarkRoutes(s, n, args...)
				results[kind] = append(results[kind], c)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("static routes of %d nodes: %w", n, err)
	}
	fmt.Fprintf(out, "\nstatic routes of %d nodes with two families, from %s of JSON as of kubectl and, for diff, a configuration of FRR\n"+
		"in which every tenth route is missing, every tenth wrong; medians of %d processes\n", n, measure.Megabytes(int(size)), staticRuns)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "waymark routes\ttime\tCPU time\tmost memory")
	var verdicts []measure.Verdict
	for _, kind := range kinds {
		took := measure.Median(measure.Each(results[kind], func(c checked) time.Duration { return c.took }))
		cpu := measure.Median(measure.Each(results[kind], func(c checked) time.Duration { return c.cpu }))
		resident := measure.Median(measure.Each(results[kind], func(c checked) int { return c.resident }))
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", kind, measure.Seconds(took), measure.Seconds(cpu), measure.Megabytes(resident))
		target := diffTook
		if kind == "export" {
			target = exportTook
		}
		verdicts = append(verdicts,
			measure.AtMost(fmt.Sprintf("routes %s for %d nodes", kind, n), took, target, measure.Seconds),
			measure.AtMost("memory for it", resident, staticResident, measure.Megabytes))
	}
	return verdicts, w.Flush()
}

// waymarkRoutes runs waymark, which has something to say of each node.
func waymarkRoutes(s *measure.Scope, n int, args ...string) (string, checked) {
	cmd := exec.Command("bin/waymark", append([]string{"routes"}, args...)...)
	begin := time.Now()
	text, err := cmd.Output()
	took := time.Since(begin)
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 2) || strings.Count(string(text), "\n") < n/5 {
		s.Fatalf("waymark routes %v: %v: %.500s", args, err, text)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return string(text), checked{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), int(usage.Maxrss) << 10}
}

// disorder leaves every tenth route out, and gives every tenth the next hop of another.
func disorder(routes string) string {
	var b strings.Builder
	var before string
	i := 0
	for line := range strings.Lines(routes) {
		if strings.HasPrefix(line, "!") {
			continue
		}
		prefix, hop := line[:strings.LastIndexByte(line, ' ')], line[strings.LastIndexByte(line, ' '):]
		if i++; i%10 == 7 {
			prefix += before
		} else {
			prefix += hop
		}
		if before = hop; i%10 != 3 {
			b.WriteString(prefix)
		}
	}
	return b.String()
}

// writeNodes writes a List as kubectl does, with a gateway that reaches all nodes, and returns its size in bytes.
func writeNodes(s *measure.Scope, path string, n int) int64 {
	f, err := os.Create(path)
	s.Check(err, "write nodes")
	defer f.Close()
	w := bufio.NewWriter(f)
	item := func(value map[string]any, after string) {
		text, err := json.MarshalIndent(value, "        ", "    ")
		s.Check(err, "write a node")
		_, _ = fmt.Fprintf(w, "        %s%s\n", text, after)
	}
	type object = map[string]any
	_, _ = w.WriteString("{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n")
	for i := range n {
		item(kubeNode(i), ",")
	}
	item(object{"apiVersion": "waymark.io/v1alpha1", "kind": "DatacenterNetwork", "metadata": object{"name": "default"}, "spec": object{
		"cidrs": []string{"10.132.0.0/16", "fd00:132::/48"}, "clusterCIDRs": []string{"100.64.0.0/10", "fd00:131::/32"},
		"gateways": []object{{"name": "core1", "address": "10.132.255.254", "dialect": "frr", "nodeSubnets": []string{"10.132.0.0/16", "fd00:132::/48"}}},
	}}, "")
	_, _ = w.WriteString("    ],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n")
	s.Check(w.Flush(), "write nodes")
	info, err := f.Stat()
	s.Check(err, "write nodes")
	return info.Size()
}

// kubeNode is one of up to 16,384, with all that a kubelet tells of it.
func kubeNode(i int) map[string]any {
	type object = map[string]any
	name := fmt.Sprintf("node-%d.rack-%d.example.com", i, i/40)
	prefixes := []string{fmt.Sprintf("100.%d.%d.0/24", 64+i>>8, i&255), fmt.Sprintf("fd00:131:0:%x::/64", i)}
	var conditions, images []object
	for _, kind := range []string{"NetworkUnavailable", "MemoryPressure", "DiskPressure", "PIDPressure", "Ready"} {
		conditions = append(conditions, object{"type": kind, "status": "False", "lastHeartbeatTime": "2026-11-21T10:00:00Z",
			"lastTransitionTime": "2026-10-01T10:00:00Z", "reason": "KubeletHasEnough", "message": "kubelet has no " + kind})
	}
	for image := range staticImages {
		repository := fmt.Sprintf("registry.example.com/team/service-%d", image)
		images = append(images, object{"names": []string{fmt.Sprintf("%s@sha256:%064x", repository, image), repository + ":v1.36.3"}, "sizeBytes": 100_000_000 + image})
	}
	return object{"apiVersion": "v1", "kind": "Node",
		"metadata": object{
			"name": name, "uid": fmt.Sprintf("%08x-0000-4000-8000-000000000000", i), "resourceVersion": fmt.Sprint(100_000 + i), "creationTimestamp": "2026-01-01T00:00:00Z",
			"labels": object{"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": fmt.Sprint("zone-", i%3)},
			"annotations": object{"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
				"kubeadm.alpha.kubernetes.io/cri-socket": "unix:///run/containerd/containerd.sock"},
		},
		"spec": object{"podCIDR": prefixes[0], "podCIDRs": prefixes},
		"status": object{
			"addresses": []object{{"type": "InternalIP", "address": fmt.Sprintf("10.132.%d.%d", i>>8, i&255)},
				{"type": "InternalIP", "address": fmt.Sprintf("fd00:132::%x", i+1)}, {"type": "Hostname", "address": name}},
			"allocatable": object{"cpu": "63", "memory": "262144000Ki", "pods": "250"}, "capacity": object{"cpu": "64", "memory": "263144000Ki", "pods": "250"},
			"conditions": conditions, "daemonEndpoints": object{"kubeletEndpoint": object{"Port": 10250}}, "images": images,
			"nodeInfo": object{"architecture": "amd64", "containerRuntimeVersion": "containerd://2.2.0", "kernelVersion": "6.18.0", "kubeletVersion": "v1.36.3",
				"machineID": "00000000000000000000000000000000", "operatingSystem": "linux", "osImage": "Debian GNU/Linux 13 (trixie)"},
		},
	}
}
