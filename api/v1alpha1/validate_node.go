package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate implements Object.
func (r *NodeRole) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkMeta(&r.ObjectMeta)
	label := spec.Child("label")
	errs = append(errs, checkName(label.Child("key"), r.Spec.Label.Key, validation.IsQualifiedName)...)
	if r.Spec.Label.Key == Drain {
		errs = append(errs, field.Invalid(label.Child("key"), r.Spec.Label.Key, "drains the nodes that bear it"))
	}
	for _, msg := range validation.IsValidLabelValue(r.Spec.Label.Value) {
		errs = append(errs, field.Invalid(label.Child("value"), r.Spec.Label.Value, msg))
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(&r.Spec.NodeSelector,
		metav1validation.LabelSelectorValidationOptions{}, spec.Child("nodeSelector"))...)
	if selects(&r.Spec.NodeSelector, r.Spec.Label.Key) {
		errs = append(errs, field.Invalid(spec.Child("nodeSelector"), r.Spec.Label.Key,
			"is the role's own label: nodes would be candidates or not by what the role itself does"))
	}
	errs = append(errs, checkOptional(spec.Child("nodes"), r.Spec.Nodes, 1, 1<<31-1)...)
	errs = append(errs, checkOptional(spec.Child("minReady"), r.Spec.MinReady, 0, 1<<31-1)...)
	if n, m := r.Spec.Nodes, r.Spec.MinReady; n != nil && m != nil && *m > *n {
		errs = append(errs, field.Invalid(spec.Child("minReady"), *m, "is more than nodes"))
	}
	return errs
}

// selects says whether a selector asks for a label.
func selects(s *metav1.LabelSelector, key string) bool {
	_, ok := s.MatchLabels[key]
	return ok || slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return e.Key == key })
}

// Validate implements Object.
func (s *NodeRoutingState) Validate() field.ErrorList {
	errs := checkMeta(&s.ObjectMeta)
	for i, verdict := range s.Spec.PodCIDRs {
		_, perrs := checkPrefix(field.NewPath("spec", "podCIDRs").Index(i).Child("prefix"), verdict.Prefix)
		errs = append(errs, perrs...)
	}
	return errs
}
