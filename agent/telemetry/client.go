package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/waymark-bgp/waymark/agent"
)

// Client asks an agent on the same machine.
type Client struct {
	RunDir string
}

// Status asks for what is in force now.
func (c Client) Status(ctx context.Context) (agent.Status, error) {
	var s agent.Status
	return s, c.get(ctx, "/status", &s)
}

// Routes asks for every learned route.
func (c Client) Routes(ctx context.Context) ([]LearnedRoute, error) {
	var routes []LearnedRoute
	return routes, c.get(ctx, "/routes", &routes)
}

// cause is err without the URL that was asked for, which nobody has typed.
func cause(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func cure(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "run this as root"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "start waymark-agent, or say with --run-dir where it runs"
	}
	return "it is there and hangs; see its log"
}

func (c Client) get(ctx context.Context, path string, into any) error {
	socket := filepath.Join(c.RunDir, SocketName)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no agent answers: %w: %s", cause(err), cure(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("agent on %s: %s", socket, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("agent on %s: %w", socket, err)
	}
	return nil
}
