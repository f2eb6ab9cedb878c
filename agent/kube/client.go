package kube

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Client speaks to one API server, over one connection.
type Client struct{ core, own rest.Interface }

// NewClient reads a kubeconfig, or with "" what a pod is given, and sends nothing yet. The program's name and version go into
// the server's log.
func NewClient(kubeconfig, program string) (*Client, error) {
	config, err := configuration(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = program
	config.QPS = -1 // no limit: the reflectors back off by themselves, and the reporter counts its seconds
	connection, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("credentials for the API server: %w", err)
	}
	core, err := speak(config, connection, "/api", corev1.SchemeGroupVersion, func(s *runtime.Scheme) error {
		// Not all of v1: what is known to a scheme stays in the program.
		s.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Node{}, &corev1.NodeList{}, &corev1.Secret{}, &corev1.SecretList{},
			&corev1.Pod{}, &corev1.PodList{}, &corev1.Namespace{}, &corev1.NamespaceList{})
		metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
		return nil
	})
	if err != nil {
		return nil, err
	}
	own, err := speak(config, connection, "/apis", v1alpha1.GroupVersion, v1alpha1.AddToScheme)
	if err != nil {
		return nil, err
	}
	return &Client{core: core, own: own}, nil
}

func configuration(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API server: %w (outside of a pod, --kubeconfig is needed)", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return config, nil
}

func speak(config *rest.Config, connection *http.Client, path string, version schema.GroupVersion, add func(*runtime.Scheme) error) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := add(scheme); err != nil {
		return nil, fmt.Errorf("kinds of %s: %w", version, err)
	}
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = path, &version
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientForConfigAndClient(c, connection)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", version, err)
	}
	return client, nil
}
