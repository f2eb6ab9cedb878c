// Package apiserver makes clients of an API server that know only the kinds Waymark reads. A client for all of Kubernetes
// would be twice the program.
package apiserver

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Clients makes one client for Nodes, Secrets, Pods and Namespaces, and one for the objects of Waymark, over one connection
// and without a limit on requests of their own. The program's name and version go into the server's log. Nothing is sent yet.
func Clients(config *rest.Config, program string) (core, own rest.Interface, err error) {
	config = rest.CopyConfig(config)
	config.UserAgent, config.QPS = program, -1
	connection, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials for the API server: %w", err)
	}
	if core, err = client(config, connection, "/api", corev1.SchemeGroupVersion, addCore); err != nil {
		return nil, nil, err
	}
	own, err = client(config, connection, "/apis", v1alpha1.GroupVersion, v1alpha1.AddToScheme)
	return core, own, err
}

// addCore adds not all of v1: what is known to a scheme stays in the program.
func addCore(s *runtime.Scheme) error {
	s.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Node{}, &corev1.NodeList{}, &corev1.Secret{}, &corev1.SecretList{},
		&corev1.Pod{}, &corev1.PodList{}, &corev1.Namespace{}, &corev1.NamespaceList{})
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
	return nil
}

func client(config *rest.Config, connection *http.Client, path string, version schema.GroupVersion, add func(*runtime.Scheme) error) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		return nil, fmt.Errorf("kinds of %s: %w", version, err)
	}
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = path, &version
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	r, err := rest.RESTClientForConfigAndClient(c, connection)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", version, err)
	}
	return r, nil
}
