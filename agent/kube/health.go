package kube

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
)

// apiServer is the place of problems with the API server itself.
const apiServer = "API server"

// health follows what becomes of the requests. There are two ways to fail: the API server does not answer, which is told
// once, however many requests it fails; and it refuses a request, which somebody must mend, and which is told of each.
type health struct {
	log     *slog.Logger
	changed func()

	mu      sync.Mutex
	errors  uint64
	silent  map[request]bool // requests without an answer since their last success
	why     string           // of the first of those
	refused map[request]string
}

// heard notes the outcome of a request.
func (h *health) heard(r request, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if apierrors.IsResourceExpired(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		err = nil // an answer: the reflector lists anew
	}
	h.mu.Lock()
	changed := h.note(r, err)
	h.mu.Unlock()
	if changed {
		h.changed()
	}
}

func (h *health) note(r request, err error) (changed bool) {
	if err == nil {
		return h.forgotten(r)
	}
	h.errors++
	if refuses(err) {
		text := err.Error()
		changed = h.refused[r] != text
		if changed {
			h.log.Error("the API server refuses a request", "request", r.String(), "err", err)
		}
		h.answered(r)
		h.refused[r] = text
		return changed
	}
	if len(h.silent) == 0 {
		h.log.Warn("the API server does not answer: what is in force stays", "err", err)
		h.why, changed = err.Error(), true
	}
	h.silent[r] = true
	return changed
}

// refuses says whether an error is an answer that will not change by itself.
func refuses(err error) bool {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonForbidden, metav1.StatusReasonUnauthorized, metav1.StatusReasonNotFound, metav1.StatusReasonInvalid:
		return true
	}
	return false
}

// forget is for requests that are not made any more.
func (h *health) forget(r request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgotten(r)
}

func (h *health) forgotten(r request) (changed bool) {
	_, changed = h.refused[r]
	delete(h.refused, r)
	return h.answered(r) || changed
}

func (h *health) answered(r request) (back bool) {
	if !h.silent[r] {
		return false
	}
	delete(h.silent, r)
	if len(h.silent) == 0 {
		h.log.Info("the API server answers again")
		return true
	}
	return false
}

func (h *health) refuses(r request) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused[r] != ""
}

func (h *health) count() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.errors
}

// problems are what the node's own status should say of it.
func (h *health) problems() []agent.Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	var problems []agent.Problem
	if len(h.silent) > 0 {
		problems = append(problems, agent.Problem{Where: apiServer, Reason: "Unreachable", Message: h.why})
	}
	for _, r := range slices.SortedFunc(maps.Keys(h.refused), request.compare) {
		problems = append(problems, agent.Problem{Object: r.String(), Where: apiServer, Reason: "Refused", Message: h.refused[r]})
	}
	return problems
}
