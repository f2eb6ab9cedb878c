package v1alpha1

import (
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	protocolForm   = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	nacosWordForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
	registryDomain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
)

// Validate implements Object.
func (c *RegistryCheck) Validate() field.ErrorList {
	spec := field.NewPath("spec")
	s := &c.Spec
	errs := checkMeta(&c.ObjectMeta)
	if len(c.Name) > 63 {
		errs = append(errs, field.TooLong(field.NewPath("metadata", "name"), c.Name, 63))
	}
	errs = append(errs, checkRegistry(spec.Child("registry"), &s.Registry)...)
	errs = append(errs, checkDuration(spec.Child("interval"), s.Interval, 30*time.Second, 24*time.Hour, time.Second)...)
	errs = append(errs, checkDuration(spec.Child("timeout"), s.Timeout, 100*time.Millisecond, 30*time.Second, time.Millisecond)...)
	errs = append(errs, checkOptional(spec.Child("dials"), s.Dials, 1, 200)...)
	for i, p := range s.Protocols {
		if !protocolForm.MatchString(p) {
			errs = append(errs, field.Invalid(spec.Child("protocols").Index(i), p, "is no protocol, as dubbo or tri"))
		}
	}
	for i := range s.FromPods {
		f, at := &s.FromPods[i], spec.Child("fromPods").Index(i)
		errs = append(errs, checkName(at.Child("namespace"), f.Namespace, validation.IsDNS1123Label)...)
		if (f.Name == "") == (f.Selector == nil) {
			errs = append(errs, field.Invalid(at, f.Name, "set one of name and selector"))
		} else if f.Name != "" {
			errs = append(errs, checkName(at.Child("name"), f.Name, validation.IsDNS1123Subdomain)...)
		} else {
			errs = append(errs, checkSelector(at.Child("selector"), f.Selector)...)
		}
	}
	if s.EgressPolicy != "" {
		errs = append(errs, checkName(spec.Child("egressPolicy"), s.EgressPolicy, validation.IsDNS1123Subdomain)...)
	}
	const only = "goes with registry.zookeeper only: Nacos does not say as whom it sees a client"
	if s.Registry.Nacos != nil && len(s.FromPods) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("fromPods"), only))
	}
	if s.Registry.Nacos != nil && s.EgressPolicy != "" {
		errs = append(errs, field.Forbidden(spec.Child("egressPolicy"), only))
	}
	return errs
}

func checkRegistry(at *field.Path, r *Registry) field.ErrorList {
	switch {
	case (r.ZooKeeper == nil) == (r.Nacos == nil):
		return field.ErrorList{field.Required(at, "set one of zookeeper and nacos")}
	case r.ZooKeeper != nil:
		at, z := at.Child("zookeeper"), r.ZooKeeper
		errs := checkServers(at, &z.RegistryServers)
		if z.Chroot != "" && (z.Chroot == "/" || path.Clean("/"+z.Chroot) != z.Chroot) {
			errs = append(errs, field.Invalid(at.Child("chroot"), z.Chroot, "must be a path, as /prod"))
		}
		if z.Root != "" && "/"+z.Root != path.Clean("/"+z.Root) {
			errs = append(errs, field.Invalid(at.Child("root"), z.Root, "must be a name, as dubbo"))
		}
		return append(errs, checkOptional(at.Child("adminPort"), z.AdminPort, 1, 1<<16-1)...)
	}
	at, n := at.Child("nacos"), r.Nacos
	errs := checkServers(at, &n.RegistryServers)
	for _, word := range []struct{ name, value string }{{"namespace", n.Namespace}, {"group", n.Group}} {
		if word.value != "" && !nacosWordForm.MatchString(word.value) {
			errs = append(errs, field.Invalid(at.Child(word.name), word.value, "must be at most 128 letters, digits and . _ : -, letters and digits first"))
		}
	}
	return errs
}

func checkServers(at *field.Path, s *RegistryServers) field.ErrorList {
	var errs field.ErrorList
	if len(s.Servers) == 0 {
		errs = append(errs, field.Required(at.Child("servers"), "HOST:PORT of at least one server"))
	}
	for i, server := range s.Servers {
		host, port, err := net.SplitHostPort(server)
		n, numeric := strconv.ParseUint(port, 10, 16)
		named := registryDomain.MatchString(host) || net.ParseIP(host) != nil
		if strings.Contains(server, "@") {
			errs = append(errs, field.Forbidden(at.Child("servers").Index(i), "user and password belong into a Secret: see authSecret"))
		} else if err != nil || numeric != nil || n == 0 || !named || strings.Contains(host, "%") {
			errs = append(errs, field.Invalid(at.Child("servers").Index(i), server, "must be HOST:PORT, of IPv6 [ADDRESS]:PORT"))
		} else if slices.Contains(s.Servers[:i], server) {
			errs = append(errs, field.Duplicate(at.Child("servers").Index(i), server))
		}
	}
	if k := s.AuthSecret; k != nil {
		at := at.Child("authSecret")
		errs = append(errs, checkName(at.Child("namespace"), k.Namespace, validation.IsDNS1123Label)...)
		errs = append(errs, checkName(at.Child("name"), k.Name, validation.IsDNS1123Subdomain)...)
		errs = append(errs, checkName(at.Child("key"), k.Key, validation.IsConfigMapKey)...)
	}
	if s.TLS != nil && s.TLS.Secret != nil {
		at := at.Child("tls", "secret")
		errs = append(errs, checkName(at.Child("namespace"), s.TLS.Secret.Namespace, validation.IsDNS1123Label)...)
		errs = append(errs, checkName(at.Child("name"), s.TLS.Secret.Name, validation.IsDNS1123Subdomain)...)
	}
	return errs
}
