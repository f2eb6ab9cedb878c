package v1alpha1

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is what every kind of this group is.
//
// +kubebuilder:object:generate=false
type Object interface {
	metav1.Object
	runtime.Object
	// Validate returns what is wrong with the object by itself, with field paths as in the manifest; nothing when it is
	// good. What needs other objects (overlaps, a missing Secret) is not judged here.
	Validate() field.ErrorList
}

const maxUint32 = 1<<32 - 1

// The helpers below each look at one value and return nothing when it is good.

func checkMeta(m *metav1.ObjectMeta) field.ErrorList {
	var errs field.ErrorList
	if m.Namespace != "" {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "namespace"), "this kind is cluster-scoped"))
	}
	return append(errs, checkName(field.NewPath("metadata", "name"), m.Name, validation.IsDNS1123Subdomain)...)
}

// checkSingleton is checkMeta for a kind of which there is one object.
func checkSingleton(m *metav1.ObjectMeta) field.ErrorList {
	errs := checkMeta(m)
	if len(errs) == 0 && m.Name != DefaultName {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), m.Name,
			fmt.Sprintf("there is only one object of this kind, and its name is %q", DefaultName)))
	}
	return errs
}

// checkName applies one of the name formats of package validation.
func checkName(path *field.Path, name string, format func(string) []string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	for _, msg := range format(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	return errs
}

func checkASN(path *field.Path, asn int64) field.ErrorList {
	if asn == 0 {
		return field.ErrorList{field.Required(path, fmt.Sprintf("an AS number, 1..%d", int64(maxUint32)))}
	}
	return checkRange(path, asn, 1, maxUint32)
}

func checkRange[T int32 | int64](path *field.Path, v, low, high T) field.ErrorList {
	if v < low || v > high {
		return field.ErrorList{field.Invalid(path, v, fmt.Sprintf("must be %d..%d", low, high))}
	}
	return nil
}

// checkOptional is checkRange for a field that may be absent.
func checkOptional[T int32 | int64](path *field.Path, v *T, low, high T) field.ErrorList {
	if v == nil {
		return nil
	}
	return checkRange(path, *v, low, high)
}

// checkDuration checks a field that may be absent: low..high in whole units.
func checkDuration(path *field.Path, d *metav1.Duration, low, high, unit time.Duration) field.ErrorList {
	switch {
	case d == nil:
		return nil
	case d.Duration < low || d.Duration > high:
		return field.ErrorList{field.Invalid(path, plain(d.Duration), fmt.Sprintf("must be %s..%s", plain(low), plain(high)))}
	case d.Duration%unit != 0:
		return field.ErrorList{field.Invalid(path, plain(d.Duration), fmt.Sprintf("must be a multiple of %s", plain(unit)))}
	}
	return nil
}

// plain is a duration as network engineers write it: 4095s, not 1h8m15s.
func plain(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return d.String()
}

// checkOneOf leaves an absent value to the caller.
func checkOneOf(path *field.Path, v string, valid ...string) field.ErrorList {
	for _, w := range valid {
		if v == w {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(path, v, valid)}
}

func checkSelector(path *field.Path, s *metav1.LabelSelector) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

func checkAddress(path *field.Path, s string) field.ErrorList {
	invalid := func(detail string) field.ErrorList { return field.ErrorList{field.Invalid(path, s, detail)} }
	if s == "" {
		return field.ErrorList{field.Required(path, "an IPv4 or IPv6 address")}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		if p, perr := netip.ParsePrefix(s); perr == nil {
			return invalid(fmt.Sprintf("is a prefix, not an address: did you mean %v", p.Addr()))
		}
		return invalid("is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1")
	}
	switch {
	case a.Is4In6():
		return invalid(fmt.Sprintf("is an IPv4 address in IPv6 form: did you mean %v", a.Unmap()))
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return invalid("is not the address of one host")
	}
	return nil
}

// checkPrefix returns the prefix too; it is valid only when there are no errors.
func checkPrefix(path *field.Path, s string) (netip.Prefix, field.ErrorList) {
	if s == "" {
		return netip.Prefix{}, field.ErrorList{field.Required(path, "a prefix, as 10.132.0.0/16")}
	}
	p, err := ParsePrefix(s)
	if err != nil {
		return p, field.ErrorList{field.Invalid(path, s, err.Error())}
	}
	return p, nil
}

// ParsePrefix reads a prefix as the manifests have it: an address of either family, a slash, a length, no host bits. The
// error says what is wrong and what would be right, without the text itself.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			a = a.Unmap()
			return netip.Prefix{}, fmt.Errorf("has no length: did you mean %v", netip.PrefixFrom(a, a.BitLen()))
		}
		address, length, _ := strings.Cut(s, "/")
		if a, aerr := netip.ParseAddr(address); aerr == nil && a.Zone() == "" {
			if n, nerr := strconv.Atoi(length); nerr == nil && n > a.BitLen() {
				return netip.Prefix{}, fmt.Errorf("has a length of more than %d bits", a.BitLen())
			}
		}
		return netip.Prefix{}, fmt.Errorf("is not a prefix, as 10.132.0.0/16 or 2001:db8::/32")
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("is an IPv4 prefix in IPv6 form")
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("has host bits set: did you mean %v", p.Masked())
	}
	return p, nil
}

func checkPrefixes(path *field.Path, list []string) field.ErrorList {
	var errs field.ErrorList
	for i, s := range list {
		_, perrs := checkPrefix(path.Index(i), s)
		errs = append(errs, perrs...)
	}
	return errs
}

// checkRule checks the match of a LearnRule or FilterRule, which lies at path.
func checkRule(path *field.Path, prefix string, minLength, maxLength *int32) field.ErrorList {
	p, errs := checkPrefix(path.Child("prefix"), prefix)
	if len(errs) > 0 {
		return errs
	}
	low, high := int32(p.Bits()), int32(p.Addr().BitLen())
	errs = append(errs, checkOptional(path.Child("minLength"), minLength, low, high)...)
	errs = append(errs, checkOptional(path.Child("maxLength"), maxLength, low, high)...)
	if minLength != nil && maxLength != nil && *minLength > *maxLength {
		errs = append(errs, field.Invalid(path.Child("maxLength"), *maxLength, fmt.Sprintf("is less than minLength, %d", *minLength)))
	}
	return errs
}

// checkCommunities checks numbers joined by colons: two of 16 bits (RFC 1997) or three of 32 (RFC 8092).
func checkCommunities(path *field.Path, list []string, numbers, bits int, example string) field.ErrorList {
	var errs field.ErrorList
	for i, s := range list {
		parts := strings.Split(s, ":")
		good := len(parts) == numbers
		for _, part := range parts {
			_, err := strconv.ParseUint(part, 10, bits)
			good = good && err == nil
		}
		if !good {
			errs = append(errs, field.Invalid(path.Index(i), s,
				fmt.Sprintf("must be %d numbers of 0..%d joined by colons, as %q", numbers, uint64(1)<<bits-1, example)))
		}
	}
	return errs
}

func checkStandard(path *field.Path, list []string) field.ErrorList {
	return checkCommunities(path, list, 2, 16, "64512:100")
}

func checkLarge(path *field.Path, list []string) field.ErrorList {
	return checkCommunities(path, list, 3, 32, "4200000000:1:100")
}
