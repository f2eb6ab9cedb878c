package v1alpha1

import (
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	vrfForm        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$`)
	namePrefixForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// Validate implements Object. Whether the format has the options is seen when the commands are written.
func (e *StaticRouteExport) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	s := &e.Spec
	errs := checkMeta(&e.ObjectMeta)
	if len(e.Name) > 200 {
		errs = append(errs, field.TooLong(field.NewPath("metadata", "name"), e.Name, 200))
	}
	errs = append(errs, checkName(spec.Child("gateway"), s.Gateway, validation.IsDNS1123Subdomain)...)
	if s.Format != "" {
		errs = append(errs, checkOneOf(spec.Child("format"), s.Format, Dialects...)...)
	}
	for _, text := range []struct {
		name, value string
		form        *regexp.Regexp
		most        string
	}{{"vrf", s.VRF, vrfForm, "31"}, {"namePrefix", s.NamePrefix, namePrefixForm, "63"}} {
		if text.value != "" && !text.form.MatchString(text.value) {
			errs = append(errs, field.Invalid(spec.Child(text.name), text.value, "must be at most "+text.most+" letters, digits and . _ -, letters and digits first"))
		}
	}
	errs = append(errs, checkOptional(spec.Child("preference"), s.Preference, 1, maxUint32)...)
	errs = append(errs, checkOptional(spec.Child("tag"), s.Tag, 1, maxUint32)...)
	errs = append(errs, checkOptional(spec.Child("track"), s.Track, 1, 1<<16-1)...)
	if s.BFD && s.Track != nil {
		errs = append(errs, field.Forbidden(spec.Child("track"), "with bfd: routes depend on one of the two"))
	}
	if s.Running != nil {
		errs = append(errs, checkName(spec.Child("running", "configMap"), s.Running.ConfigMap, validation.IsDNS1123Subdomain)...)
		if s.Running.Key != "" {
			errs = append(errs, checkName(spec.Child("running", "key"), s.Running.Key, validation.IsConfigMapKey)...)
		}
	}
	return append(errs, checkDuration(spec.Child("interval"), s.Interval, time.Minute, 24*time.Hour, time.Second)...)
}
