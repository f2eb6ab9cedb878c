package file

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// identity is what no two objects in force share.
type identity struct{ kind, namespace, name string }

func (id identity) String() string {
	if id.namespace == "" {
		return id.kind + "/" + id.name
	}
	return id.kind + "/" + id.namespace + "/" + id.name
}

// object is a good object and where it stands.
type object struct {
	identity
	value any    // a pointer to one of the types of agent.Snapshot
	file  string // its name
	where string
	kept  bool // not what the file says now, but what it said when it last was good
}

// contents are what a file says.
type contents struct {
	objects  []object
	refused  []identity // objects that are there but not good
	problems []agent.Problem
	good     bool // nothing was refused
	empty    bool // no document at all
	// closed says that the end is seen to be the end: a newline, or the last brace of a flow document.
	closed bool
}

// reader turns the bytes of one file into contents.
type reader struct {
	file    string
	aliased int // values that aliases stand for, so far
	contents
}

// read never fails: what is wrong is in the problems.
func read(file string, data []byte) contents {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	r := reader{file: file}
	documents := splitDocuments(data)
	r.good, r.empty = true, len(documents) == 0
	r.closed = len(data) > 0 && data[len(data)-1] == '\n'
	for i, doc := range documents {
		flow := r.document(doc)
		r.closed = r.closed || flow && i == len(documents)-1
	}
	return r.contents
}

// document reads one document, a list or a single object, and says whether it is in flow style.
func (r *reader) document(doc piece) (flow bool) {
	if header, items := splitList(doc); len(items) > 0 {
		if root, _, _ := r.parse(header); isList(root) {
			line, err := r.items(items)
			if err == nil {
				return items[0].text[0] == '{'
			}
			if len(doc.text) > maxDocument {
				r.syntax(line, err)
				return false
			}
		}
	}
	root, line, err := r.parse(doc.text)
	if err != nil {
		r.syntax(doc.before+line, err)
		return false
	}
	r.tree(root, doc.before)
	return root.Style&yaml.FlowStyle != 0
}

// items reads the items of a list one by one. When one does not parse it has done nothing, and tells the line: anchors may
// tie items together that are not good alone.
func (r *reader) items(items []piece) (line int, err error) {
	parts := reader{file: r.file, contents: contents{good: true}}
	for _, item := range items {
		if n, ok := jsonNode(item.text); ok {
			parts.objects = append(parts.objects, object{identity{kind: "Node", name: n.Name}, n, r.file, r.where(item.before + 1), false})
			continue
		}
		root, line, err := r.parse(item.text)
		if err != nil {
			return item.before + line, err
		}
		if root.Kind == yaml.SequenceNode && len(root.Content) == 1 {
			root = root.Content[0]
		}
		parts.object(root, item.before)
	}
	r.objects = append(r.objects, parts.objects...)
	r.refused = append(r.refused, parts.refused...)
	r.problems = append(r.problems, parts.problems...)
	r.good = r.good && parts.good
	return 0, nil
}

// tree reads a parsed document.
func (r *reader) tree(root *yaml.Node, before int) {
	if !isList(root) {
		r.object(root, before)
		return
	}
	_, items := child(root, "items")
	if items == nil || resolve(items).Kind != yaml.SequenceNode {
		r.refuse(identity{}, before+root.Line, "Invalid", "a list without items")
		return
	}
	for _, item := range resolve(items).Content {
		r.object(resolve(item), before)
	}
}

func isList(root *yaml.Node) bool {
	return root != nil && text(root, "apiVersion") != "" && strings.HasSuffix(text(root, "kind"), "List")
}

// text returns a scalar below a node, or nothing.
func text(n *yaml.Node, names ...string) string {
	for _, name := range names {
		_, value := child(n, name)
		if value == nil {
			return ""
		}
		n = resolve(value)
	}
	return n.Value
}

func (r *reader) where(line int) string { return fmt.Sprintf("%s:%d", r.file, line) }

func (r *reader) problem(id identity, line int, reason, message string) {
	p := agent.Problem{Where: r.where(line), Reason: reason, Message: message}
	if id.name != "" {
		p.Object = id.String()
	}
	r.problems = append(r.problems, p)
}

func (r *reader) refuse(id identity, line int, reason, message string) {
	r.good = false
	r.problem(id, line, reason, message)
	if id.name != "" {
		r.refused = append(r.refused, id)
	}
}

func (r *reader) syntax(line int, err error) {
	reason := "Syntax"
	if errors.As(err, new(tooLarge)) {
		reason = "TooLarge"
	}
	r.refuse(identity{}, line, reason, err.Error())
}

// nodeManifest is the part of a Node that the agent needs. The rest is not even decoded: images and conditions of 5,000
// nodes are most of a file and of no use here.
type nodeManifest struct {
	Metadata struct {
		Name              string            `json:"name"`
		UID               types.UID         `json:"uid"`
		CreationTimestamp metav1.Time       `json:"creationTimestamp"`
		Labels            map[string]string `json:"labels"`
		Annotations       map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR  string         `json:"podCIDR"`
		PodCIDRs []string       `json:"podCIDRs"`
		Taints   []corev1.Taint `json:"taints"`
	} `json:"spec"`
	Status struct {
		Addresses []corev1.NodeAddress `json:"addresses"`
	} `json:"status"`
}

func (m *nodeManifest) node() *corev1.Node {
	delete(m.Metadata.Annotations, corev1.LastAppliedConfigAnnotation)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.Metadata.Name, UID: m.Metadata.UID, CreationTimestamp: m.Metadata.CreationTimestamp,
			Labels: m.Metadata.Labels, Annotations: m.Metadata.Annotations,
		},
		Spec:   corev1.NodeSpec{PodCIDR: m.Spec.PodCIDR, PodCIDRs: m.Spec.PodCIDRs, Taints: m.Spec.Taints},
		Status: corev1.NodeStatus{Addresses: m.Status.Addresses},
	}
}

// podCIDRs returns them also from a Node that has the older singular field only.
func podCIDRs(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{n.Spec.PodCIDR}
	}
	return n.Spec.PodCIDRs
}

type secretManifest struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Data       map[string][]byte `json:"data"`
	StringData map[string]string `json:"stringData"`
}

func (m *secretManifest) secret() *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: m.Metadata.Name, Namespace: m.Metadata.Namespace},
		Data:       map[string][]byte{},
	}
	for key, value := range m.Data {
		s.Data[key] = value
	}
	for key, value := range m.StringData { // as the API server does: it overrides
		s.Data[key] = []byte(value)
	}
	return s
}

// Ignored is the reason of a Problem that is none where objects of other programs stand beside ours.
const Ignored = "Ignored"

// own makes an object of each kind of our group.
var own = map[string]func() v1alpha1.Object{
	"BGPConfiguration":  func() v1alpha1.Object { return new(v1alpha1.BGPConfiguration) },
	"BGPPeer":           func() v1alpha1.Object { return new(v1alpha1.BGPPeer) },
	"EgressPolicy":      func() v1alpha1.Object { return new(v1alpha1.EgressPolicy) },
	"AddressPool":       func() v1alpha1.Object { return new(v1alpha1.AddressPool) },
	"DatacenterNetwork": func() v1alpha1.Object { return new(v1alpha1.DatacenterNetwork) },
	"NodeRole":          func() v1alpha1.Object { return new(v1alpha1.NodeRole) },
	"RegistryCheck":     func() v1alpha1.Object { return new(v1alpha1.RegistryCheck) },
	"StaticRouteExport": func() v1alpha1.Object { return new(v1alpha1.StaticRouteExport) },
	"NodeRoutingState":  func() v1alpha1.Object { return new(v1alpha1.NodeRoutingState) },
}

// object reads one object.
func (r *reader) object(root *yaml.Node, before int) {
	version, kind := text(root, "apiVersion"), text(root, "kind")
	id := identity{kind: kind, name: text(root, "metadata", "name")}
	line := before + root.Line
	switch group, _, _ := strings.Cut(version, "/"); {
	case version == "" || kind == "":
		r.refuse(identity{}, line, "Invalid", "apiVersion and kind must be set: not a manifest, or cut off")
	case version == "v1" && kind == "Node":
		var m nodeManifest
		if r.decode(id, root, before, &m, false) {
			n := m.node()
			r.validated(id, root, before, n, v1alpha1.ValidateNode(podCIDRs(n), n.Annotations))
		}
	case version == "v1" && kind == "Secret":
		if id.namespace = text(root, "metadata", "namespace"); id.namespace == "" {
			id.namespace = metav1.NamespaceDefault
		}
		var m secretManifest
		if r.decode(id, root, before, &m, false) {
			s := m.secret()
			s.Namespace = id.namespace
			r.validated(id, root, before, s, nil)
		}
	case version == v1alpha1.APIVersion && own[kind] != nil:
		r.ours(id, root, before)
	case group == v1alpha1.Group:
		r.refuse(id, line, "UnknownKind", fmt.Sprintf("there is no %s in %s%s", kind, version, meant(version, kind)))
	default:
		// Nothing that could ever have been in force: it holds nothing up.
		reason, hint := Ignored, meant(version, kind)
		if hint != "" {
			reason = "UnknownKind"
		}
		r.problem(id, line, reason, fmt.Sprintf("a %s of %s is not read here: ignored%s", kind, version, hint))
	}
}

// meant names the version and kind that a manifest of neither was probably to be of.
func meant(version, kind string) string {
	switch {
	case own[kind] != nil:
		return fmt.Sprintf(": the %s of Waymark is of %s", kind, v1alpha1.APIVersion)
	case version == v1alpha1.APIVersion && (kind == "Node" || kind == "Secret"):
		return fmt.Sprintf(": a %s is of v1", kind)
	case version == v1alpha1.APIVersion:
		return suggestion(kind, own)
	}
	return ""
}

func (r *reader) ours(id identity, root *yaml.Node, before int) {
	o := own[id.kind]()
	switch o.(type) {
	case *v1alpha1.BGPConfiguration, *v1alpha1.DatacenterNetwork:
		if id.name != "" && id.name != v1alpha1.DefaultName {
			r.problem(id, before+lineOf(root, "metadata.name"), "Duplicate",
				fmt.Sprintf("there is one %s, named %s: this one is ignored", id.kind, v1alpha1.DefaultName))
			return
		}
	}
	if r.decode(id, root, before, o, true) {
		r.validated(id, root, before, o, o.Validate())
	}
}

func (r *reader) decode(id identity, root *yaml.Node, before int, into any, strict bool) bool {
	d := decoder{strict: strict, before: before}
	d.decode(root, reflect.ValueOf(into).Elem(), "")
	for _, f := range d.faults {
		message := f.message
		if f.path != "" {
			message = f.path + ": " + message
		}
		r.refuse(id, f.line, "Invalid", message)
	}
	return len(d.faults) == 0
}

func (r *reader) validated(id identity, root *yaml.Node, before int, value any, errs field.ErrorList) {
	if id.name == "" && len(errs) == 0 {
		errs = field.ErrorList{field.Required(field.NewPath("metadata", "name"), "")}
	}
	for _, err := range errs {
		r.refuse(id, before+lineOf(root, err.Field), "Invalid", err.Error())
	}
	if len(errs) == 0 {
		r.objects = append(r.objects, object{identity: id, value: value, file: r.file, where: r.where(before + root.Line)})
	}
}
