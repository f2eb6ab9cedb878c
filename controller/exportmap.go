package controller

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// The keys of the ConfigMap of an export. With packed behind them they are in binaryData, compressed by gzip.
const (
	commandsKey = "commands"
	diffKey     = "diff"
	packed      = ".gz"
	formatNote  = "waymark.io/format" // annotation: what the commands are written in
)

// The API server takes 1 MiB of a ConfigMap's data, less the keys.
const mostOfMap = 1000 << 10

func exportMapName(e *v1alpha1.StaticRouteExport) string { return "waymark-routes-" + e.Name }

// pack puts the texts into the ConfigMap, compressed when they are too large for it as they are.
func pack(m *corev1.ConfigMap, commands, diff string) error {
	texts := map[string]string{commandsKey: commands, diffKey: diff}
	m.Data, m.BinaryData = texts, nil
	if len(commands)+len(diff) <= mostOfMap {
		return nil
	}
	m.Data, m.BinaryData = nil, map[string][]byte{}
	size := 0
	for key, text := range texts {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, text) // a buffer takes all
		_ = w.Close()
		m.BinaryData[key+packed] = b.Bytes()
		size += b.Len()
	}
	if size > mostOfMap {
		return &exportRefusal{"TooLarge", fmt.Errorf("the commands are %d bytes, compressed %d, more than a ConfigMap takes: aggregate, or use waymark routes export", len(commands)+len(diff), size)}
	}
	return nil
}

// unpack is the text of a key.
func unpack(m *corev1.ConfigMap, key string) (string, error) {
	if text, found := m.Data[key]; found {
		return text, nil
	}
	data, found := m.BinaryData[key+packed]
	if !found {
		return "", nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(r, 64<<20))
	return string(text), err
}

// publish writes the ConfigMap if it is not as it should be, and tells by an Event what is new in the commands.
func (r *routeExports) publish(ctx context.Context, x *exporting) error {
	e := x.StaticRouteExport
	name := exportMapName(e)
	var before corev1.ConfigMap
	err := r.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: name}, &before)
	if apierrors.IsNotFound(err) {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: r.namespace, Name: name,
			Labels:      map[string]string{"app.kubernetes.io/part-of": "waymark"},
			Annotations: map[string]string{formatNote: x.format},
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: v1alpha1.APIVersion, Kind: "StaticRouteExport", Name: e.Name, UID: e.UID},
			},
		}}
		if err := pack(m, x.commands, x.diff); err != nil {
			return err
		}
		switch err := r.Create(ctx, m); {
		case apierrors.IsAlreadyExists(err): // the cache has not seen it yet
			return apierrors.NewConflict(corev1.Resource("configmaps"), name, err)
		case err != nil:
			return fmt.Errorf("create ConfigMap %s/%s: %w", r.namespace, name, err)
		}
		e.Status.ConfigMap = name
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(before.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == e.UID }) {
		return &exportRefusal{"Taken", fmt.Errorf("ConfigMap %s/%s is somebody else's: delete it, or give the export another name", r.namespace, name)}
	}
	e.Status.ConfigMap = name
	changed, err := x.follow(&before)
	if err != nil {
		return err
	}
	after := before.DeepCopy()
	metav1.SetMetaDataAnnotation(&after.ObjectMeta, formatNote, x.format)
	if err := pack(after, x.commands, x.diff); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(&before, after) {
		return nil
	}
	if err := r.Patch(ctx, after, client.MergeFromWithOptions(&before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write ConfigMap %s/%s: %w", r.namespace, name, err)
	}
	if changed != "" {
		r.events.Eventf(e, nil, corev1.EventTypeNormal, "Changed", "Export", "%s", short(changed))
	}
	return nil
}

// follow compares with what was published before. Where nobody says what the router has, the last difference stays until there
// is another.
func (x *exporting) follow(before *corev1.ConfigMap) (changed string, err error) {
	commands, err := unpack(before, commandsKey)
	if err != nil {
		return "", fmt.Errorf("read ConfigMap %s: %w", before.Name, err)
	}
	diff, err := unpack(before, diffKey)
	if err != nil {
		return "", fmt.Errorf("read ConfigMap %s: %w", before.Name, err)
	}
	now := x.diff
	switch {
	case commands == x.commands:
		x.diff = diff
	case before.Annotations[formatNote] != x.format:
		changed, x.diff = "the commands are in another format: "+x.format, ""
	default:
		how, err := x.since(commands)
		if err != nil || how == "" { // names have changed, or somebody has edited the text
			how = "the text is another"
		}
		changed = "the commands have changed: " + how
	}
	if x.compared {
		x.diff = now
	}
	return changed, nil
}

// running is what the export's ConfigMap says that the router has; nil: the export names none.
func (r *routeExports) running(ctx context.Context, e *v1alpha1.StaticRouteExport) (*runningText, error) {
	from := e.Spec.Running
	if from == nil {
		return nil, nil
	}
	key := from.Key
	if key == "" {
		key = v1alpha1.RunningKey
	}
	var m corev1.ConfigMap
	err := r.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: from.ConfigMap}, &m)
	switch {
	case apierrors.IsNotFound(err):
		return &runningText{missing: fmt.Sprintf("there is no ConfigMap %s/%s with the router's configuration", r.namespace, from.ConfigMap)}, nil
	case err != nil:
		return nil, err
	}
	text, err := unpack(&m, key)
	if err != nil {
		return &runningText{missing: fmt.Sprintf("key %s of ConfigMap %s/%s: %v", key+packed, r.namespace, from.ConfigMap, err)}, nil
	}
	if strings.TrimSpace(text) == "" {
		return &runningText{missing: fmt.Sprintf("ConfigMap %s/%s has no text at key %s", r.namespace, from.ConfigMap, key)}, nil
	}
	return &runningText{text: strings.ReplaceAll(text, "\r\n", "\n")}, nil // as terminals save it
}
