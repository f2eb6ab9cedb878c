package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/waymark-bgp/waymark/registry"
)

// command asks the AdminServer of a host and reads its answer, a JSON object, into v.
func (a Asker) command(ctx context.Context, host, name string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	address := "http://" + net.JoinHostPort(host, strconv.Itoa(int(a.AdminPort))) + "/commands/" + name
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	client := http.Client{
		// No proxy, and no way to somebody else: this is about one server.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP status %d", address, response.StatusCode)
	}
	limited := &io.LimitedReader{R: response.Body, N: maxReport}
	var failed struct {
		Error *string `json:"error"`
	}
	text, err := io.ReadAll(limited)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", address, err)
	case limited.N == 0:
		return fmt.Errorf("%s: the answer is longer than %d MiB", address, maxReport>>20)
	}
	if err := errors.Join(json.Unmarshal(text, &failed), json.Unmarshal(text, v)); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if failed.Error != nil {
		return fmt.Errorf("%s: %.80q", address, *failed.Error)
	}
	return nil
}

// configuration is what the command of that name says of our matter.
type configuration struct {
	Limit *int `json:"max_client_cnxns"`
	ID    int  `json:"server_id"`
}

func (c configuration) into(s *registry.Server) error {
	if c.Limit == nil {
		return errors.New("the configuration has no max_client_cnxns")
	}
	s.Limit, s.ID = max(*c.Limit, 0), c.ID
	return nil
}

// votingView has the members of the ensemble; of one that is alone there is none.
type votingView struct {
	Config map[string]struct {
		Servers []string `json:"server_addresses"`
		Client  string   `json:"client_address"`
	} `json:"current_config"`
}

func (v votingView) into(s *registry.Server) {
	for id, m := range v.Config {
		if number, err := strconv.Atoi(id); err == nil && len(m.Servers) > 0 {
			s.Members[number] = member(m.Servers[0] + ";" + m.Client)
		}
	}
}

// connections are those of both ports.
type connections struct {
	Plain  *[]connection `json:"connections"`
	Secure []connection  `json:"secure_connections"`
}

type connection struct {
	Source  string `json:"remote_socket_address"`
	Session int64  `json:"session_id"`
}

func (c connections) into(s *registry.Server) error {
	if c.Plain == nil {
		return errors.New("the answer has no connections")
	}
	for _, one := range append(*c.Plain, c.Secure...) {
		source, err := sourceOf(one.Source)
		if err != nil {
			return fmt.Errorf("connection of %.80q: %w", one.Source, err)
		}
		s.Connections = append(s.Connections, registry.Connection{Source: source, Session: one.Session})
	}
	return nil
}

// monitor is what the command of that name says of our matter.
type monitor struct {
	Version string `json:"version"`
	Mode    string `json:"server_state"`
	Refused *int64 `json:"connection_rejected"`
}

func (m monitor) into(s *registry.Server) {
	s.Version, s.Mode = versionOf(m.Version), m.Mode
	if m.Refused != nil {
		s.Refused = *m.Refused
	}
}
