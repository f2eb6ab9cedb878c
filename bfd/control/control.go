// Package control is the Unix socket between the agent and waymark-bfd. The agent tells the whole set of wanted sessions,
// waymark-bfd reports all of them at once and at every change. Sessions do not depend on the connection: when the agent
// goes, they stay as they are.
//
// Both directions are JSON values, one per line, so that a person can follow with any tool that reads a Unix socket.
package control

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waymark-bgp/waymark/bfd"
)

// SocketName is the file name of the socket in the run directory.
const SocketName = "bfd.sock"

// Version of the protocol. It grows when an older side would misunderstand a newer one; a new field alone is no reason.
const Version = 1

// maxRequest bounds the memory that a request can take, in bytes: 16,384 sessions fit in.
const maxRequest = 16 << 20

// request is what the agent says: this is what shall be.
type request struct {
	Version int `json:"version"`
	bfd.Config
}

// Report is what waymark-bfd says.
type Report struct {
	Version int `json:"version"`
	// Instance names this run of waymark-bfd. In another one all counters have begun anew.
	Instance string `json:"instance"`
	// Error says why the last request on this connection was refused; the sessions are those from before it.
	Error string `json:"error,omitempty"`
	bfd.Report
}

func parseRequest(line []byte) (request, error) {
	var r request
	switch err := json.Unmarshal(line, &r); {
	case err != nil:
		return r, fmt.Errorf("read request: %w", err)
	case r.Version != Version:
		return r, fmt.Errorf("request has version %d, this waymark-bfd speaks %d", r.Version, Version)
	case r.Sessions == nil:
		return r, errors.New("request has no sessions: an empty list ends all, none is a mistake")
	}
	return r, nil
}
