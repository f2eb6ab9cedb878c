package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	maxRestartTime = 4095 * time.Second  // 12 bits, RFC 4724 section 3
	maxHold        = 65535 * time.Second // 16 bits, RFC 4271 section 4.2
	minHold        = 3 * time.Second     // RFC 4271 section 4.2
	defaultHold    = 90 * time.Second
	localTable     = 255 // the kernel keeps the host's own addresses there
)

// Validate implements Object.
func (c *BGPConfiguration) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	errs := checkSingleton(&c.ObjectMeta)
	errs = append(errs, checkASN(spec.Child("asn"), c.Spec.ASN)...)
	errs = append(errs, checkOptional(spec.Child("listenPort"), c.Spec.ListenPort, 0, 65535)...)
	errs = append(errs, checkDuration(spec.Child("gracefulRestart", "restartTime"), c.Spec.GracefulRestart.RestartTime,
		time.Second, maxRestartTime, time.Second)...)
	errs = append(errs, checkStandard(spec.Child("advertise", "communities"), c.Spec.Advertise.Communities)...)
	learn := spec.Child("learn")
	for i, r := range c.Spec.Learn.Accept {
		errs = append(errs, checkRule(learn.Child("accept").Index(i), r.Prefix, r.MinLength, r.MaxLength)...)
	}
	errs = append(errs, checkOptional(learn.Child("metric"), c.Spec.Learn.Metric, 1, 1<<31-1)...)
	errs = append(errs, checkOptional(learn.Child("table"), c.Spec.Learn.Table, 1, 1<<31-1)...)
	if t := c.Spec.Learn.Table; t != nil && *t == localTable {
		errs = append(errs, field.Invalid(learn.Child("table"), *t, "is the kernel's table of local addresses"))
	}
	return append(errs, checkDuration(spec.Child("drain", "timeout"), c.Spec.Drain.Timeout, 0, time.Hour, time.Millisecond)...)
}

// Validate implements Object.
func (p *BGPPeer) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	s := &p.Spec
	errs := checkMeta(&p.ObjectMeta)
	errs = append(errs, checkSelector(spec.Child("nodeSelector"), s.NodeSelector)...)
	errs = append(errs, s.checkAddressSource(spec)...)
	errs = append(errs, checkASN(spec.Child("asn"), s.ASN)...)
	errs = append(errs, checkOptional(spec.Child("port"), s.Port, 1, 65535)...)
	errs = append(errs, s.PasswordSecret.check(spec.Child("passwordSecret"))...)
	errs = append(errs, s.checkDistance(spec)...)
	errs = append(errs, s.Timers.check(spec.Child("timers"))...)
	errs = append(errs, s.BFD.check(spec.Child("bfd"))...)
	for i, f := range s.Families {
		errs = append(errs, checkOneOf(spec.Child("families").Index(i), f, "ipv4", "ipv6")...)
	}
	errs = append(errs, checkFilter(spec.Child("import"), s.Import)...)
	errs = append(errs, checkFilter(spec.Child("export"), s.Export)...)
	errs = append(errs, checkOptional(spec.Child("maxPrefixes"), s.MaxPrefixes, 0, maxUint32)...)
	errs = append(errs, checkOptional(spec.Child("allowOwnAS"), s.AllowOwnAS, 0, 10)...)
	return append(errs, s.Attributes.check(spec.Child("attributes"))...)
}

func (s *BGPPeerSpec) checkAddressSource(spec *field.Path) field.ErrorList {
	address, annotation := spec.Child("address"), spec.Child("fromNodeAnnotation")
	switch {
	case s.Address == "" && s.FromNodeAnnotation == "":
		return field.ErrorList{field.Required(address, "the peer's address, or fromNodeAnnotation")}
	case s.Address != "" && s.FromNodeAnnotation != "":
		return field.ErrorList{field.Forbidden(annotation, "excludes address: set one of the two")}
	case s.Address != "":
		return checkAddress(address, s.Address)
	default:
		return checkName(annotation, s.FromNodeAnnotation, validation.IsQualifiedName)
	}
}

// checkDistance checks how far away the peer may be.
func (s *BGPPeerSpec) checkDistance(spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Multihop != nil {
		errs = append(errs, checkRange(spec.Child("multihop", "ttl"), s.Multihop.TTL, 2, 255)...)
	}
	if s.TTLSecurity != nil {
		errs = append(errs, checkRange(spec.Child("ttlSecurity", "hops"), s.TTLSecurity.Hops, 1, 254)...)
	}
	if s.Multihop != nil && s.TTLSecurity != nil {
		errs = append(errs, field.Forbidden(spec.Child("ttlSecurity"), "excludes multihop: ttlSecurity.hops says how far away the peer may be"))
	}
	return errs
}

func (k *SecretKey) check(path *field.Path) field.ErrorList {
	if k == nil {
		return nil
	}
	errs := checkName(path.Child("namespace"), k.Namespace, validation.IsDNS1123Label)
	errs = append(errs, checkName(path.Child("name"), k.Name, validation.IsDNS1123Subdomain)...)
	return append(errs, checkName(path.Child("key"), k.Key, validation.IsConfigMapKey)...)
}

func (t *Timers) check(path *field.Path) field.ErrorList {
	hold := defaultHold
	var errs field.ErrorList
	if t.Hold != nil {
		hold = t.Hold.Duration
		errs = append(errs, checkDuration(path.Child("hold"), t.Hold, minHold, maxHold, time.Second)...)
	}
	switch keepalive := path.Child("keepalive"); {
	case t.Keepalive == nil || len(errs) > 0:
	case t.Keepalive.Duration >= hold:
		errs = append(errs, field.Invalid(keepalive, plain(t.Keepalive.Duration), "must be less than the hold time, "+plain(hold)))
	default:
		errs = append(errs, checkDuration(keepalive, t.Keepalive, time.Second, maxHold, time.Second)...)
	}
	return append(errs, checkDuration(path.Child("connectRetry"), t.ConnectRetry, time.Second, maxHold, time.Second)...)
}

func (b *BFD) check(path *field.Path) field.ErrorList {
	if b == nil {
		return nil
	}
	errs := checkDuration(path.Child("interval"), b.Interval, 10*time.Millisecond, time.Minute, time.Millisecond)
	// With a multiplier of 1 a single lost packet would be a dead path.
	return append(errs, checkOptional(path.Child("multiplier"), b.Multiplier, 2, 255)...)
}

func checkFilter(path *field.Path, rules []FilterRule) field.ErrorList {
	var errs field.ErrorList
	for i, r := range rules {
		errs = append(errs, checkRule(path.Index(i), r.Prefix, r.MinLength, r.MaxLength)...)
		errs = append(errs, checkOneOf(path.Index(i).Child("action"), r.Action, "Accept", "Reject")...)
	}
	return errs
}

func (a *ExportAttributes) check(path *field.Path) field.ErrorList {
	errs := checkOptional(path.Child("med"), a.MED, 0, maxUint32)
	errs = append(errs, checkOptional(path.Child("localPreference"), a.LocalPreference, 0, maxUint32)...)
	errs = append(errs, checkOptional(path.Child("prepend"), a.Prepend, 0, 10)...)
	errs = append(errs, checkStandard(path.Child("communities"), a.Communities)...)
	return append(errs, checkLarge(path.Child("largeCommunities"), a.LargeCommunities)...)
}
