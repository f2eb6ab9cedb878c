package v1alpha1

import (
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
	for _, msg := range validation.IsValidLabelValue(r.Spec.Label.Value) {
		errs = append(errs, field.Invalid(label.Child("value"), r.Spec.Label.Value, msg))
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(&r.Spec.NodeSelector,
		metav1validation.LabelSelectorValidationOptions{}, spec.Child("nodeSelector"))...)
	errs = append(errs, checkOptional(spec.Child("nodes"), r.Spec.Nodes, 1, 1<<31-1)...)
	errs = append(errs, checkOptional(spec.Child("minReady"), r.Spec.MinReady, 0, 1<<31-1)...)
	if n, m := r.Spec.Nodes, r.Spec.MinReady; n != nil && m != nil && *m > *n {
		errs = append(errs, field.Invalid(spec.Child("minReady"), *m, "is more than nodes"))
	}
	return errs
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
