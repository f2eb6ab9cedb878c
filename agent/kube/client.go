package kube

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/waymark-bgp/waymark/internal/apiserver"
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
	core, own, err := apiserver.Clients(config, program) // reflectors back off by themselves, and the reporter counts its seconds
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
