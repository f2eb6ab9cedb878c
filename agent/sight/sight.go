// Package sight finds out as whom the servers of a registry see the pods of this node: it connects from inside a pod's network
// namespace, and asks the server who is there. The controller says which pods and servers.
package sight

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/podnet"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

const (
	look       = time.Second
	together   = 4 // pods at a time
	longest    = 30 * time.Second
	mostReport = 200 // as the CustomResourceDefinition has it
	mostError  = 1000
	adminPort  = 8080
)

// Observer answers requests, again and again. The field is set before Run.
type Observer struct {
	// Requests are what is asked for now.
	Requests func() []v1alpha1.SightRequest

	mu      sync.Mutex
	reports []v1alpha1.SightReport
}

// observed is a request with the answer to it.
type observed struct {
	request v1alpha1.SightRequest
	at      time.Time
	reports []v1alpha1.SightReport
}

// Run observes until ctx ends.
func (o *Observer) Run(ctx context.Context) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	var known []observed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		known = observe(ctx, known, o.Requests())
		var reports []v1alpha1.SightReport
		for i := range known {
			reports = append(reports, known[i].reports...)
		}
		o.mu.Lock()
		o.reports = reports[:min(len(reports), mostReport)]
		o.mu.Unlock()
	}
}

// Reports are the last answers, in the order of the requests.
func (o *Observer) Reports() []v1alpha1.SightReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.reports)
}

// observe answers the requests that are new or due.
func observe(ctx context.Context, known []observed, requests []v1alpha1.SightRequest) []observed {
	now := make([]observed, len(requests))
	var group errgroup.Group
	group.SetLimit(together)
	for i, r := range requests {
		at := slices.IndexFunc(known, func(k observed) bool { return reflect.DeepEqual(k.request, r) })
		if at >= 0 && time.Since(known[at].at) < r.Interval.Duration {
			now[i] = known[at]
			continue
		}
		group.Go(func() error {
			limited, cancel := context.WithTimeout(ctx, longest)
			defer cancel()
			now[i] = observed{r, time.Now(), answer(limited, &r)}
			return nil
		})
	}
	_ = group.Wait() // what goes wrong is in the answers
	return now
}

// answer looks from a pod at each server.
func answer(ctx context.Context, r *v1alpha1.SightRequest) []v1alpha1.SightReport {
	reports := make([]v1alpha1.SightReport, len(r.Servers))
	asker := zookeeper.Asker{Timeout: r.Timeout.Duration, AdminPort: cmp.Or(uint16(r.AdminPort), adminPort)}
	var addresses []netip.Addr
	for _, text := range r.Addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, a)
		}
	}
	pod, err := enter(addresses)
	if err == nil {
		defer pod.Close()
		asker.TLS, err = trust(r)
	}
	for i, server := range r.Servers {
		report := v1alpha1.SightReport{Check: r.Check, Pod: r.Pod, Server: server}
		if err == nil {
			own, seen, err := asker.SeenFrom(ctx, pod, addresses, server)
			if own.IsValid() {
				report.Address = own.String()
			}
			if err == nil {
				report.Seen = seen.String()
			} else {
				report.Error = short(err)
			}
		} else {
			report.Error = short(err)
		}
		report.Time = metav1.NewTime(time.Now().UTC().Truncate(time.Second))
		reports[i] = report
	}
	return reports
}

// enter opens the network namespace of a pod. An agent in a container sees that only if it is let.
func enter(addresses []netip.Addr) (*podnet.Namespace, error) {
	if len(addresses) == 0 {
		return nil, errors.New("the pod has no address")
	}
	pod, err := podnet.Find(addresses[0])
	if errors.Is(err, podnet.ErrNotHere) {
		err = errors.New(err.Error() + ": the pod has gone, or the agent, in a container, does not see the host's /run/netns: that is agent.enterPods of the Helm chart")
	}
	return pod, err
}

func trust(r *v1alpha1.SightRequest) (*tls.Config, error) {
	if !r.TLS {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.ServerName}
	if r.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(r.CA)) {
			return nil, errors.New("there is no certificate in PEM to trust")
		}
	}
	return config, nil
}

// short keeps an error within what a status takes.
func short(err error) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	return strings.ToValidUTF8(text[:min(len(text), mostError)], "")
}
