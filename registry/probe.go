package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Conn is a TCP connection; every net.Conn is one.
type Conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// Dialer opens TCP connections to an address or a name. Why there is none it says with a *DialError.
type Dialer interface {
	Dial(ctx context.Context, host string, port uint16) (Conn, error)
}

// DialError is why a connection could not be opened.
type DialError struct {
	Reach Reach
	From  netip.Addr // router or host that has said so; zero: not known
	Err   error
}

func (e *DialError) Error() string {
	if e.From.IsValid() {
		return fmt.Sprintf("%v, says %s", e.Err, e.From)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Reach says how far a connection has come.
type Reach string

// The ends of an attempt to connect. The zero value: there was none.
const (
	Connected  Reach = "Connected"
	Refused    Reach = "Refused"    // RST: the host is there, nobody listens
	NoAnswer   Reach = "NoAnswer"   // nothing came back in time
	NoRoute    Reach = "NoRoute"    // a router, or this host, knows no way
	Prohibited Reach = "Prohibited" // a filter says no
	Unresolved Reach = "Unresolved" // the name has no address
	Failed     Reach = "Failed"     // anything else
)

// Speech says whether the other side speaks the protocol that the entry promises.
type Speech string

// The ends of an attempt to talk. The zero value: there was none, for want of a connection or because the protocol has no
// probe.
const (
	Speaks Speech = "Speaks"
	Silent Speech = "Silent" // accepts and says nothing
	Closes Speech = "Closes" // accepts and hangs up
	Else   Speech = "Else"   // speaks something else
)

// Answer is what came of a probe.
type Answer struct {
	Reach    Reach         `json:"reach,omitempty"`
	Speech   Speech        `json:"speech,omitempty"`
	From     netip.Addr    `json:"from,omitzero"` // router or host that has said no
	Last     netip.Addr    `json:"last,omitzero"` // router that packets still come to, where nobody answers; zero: not known
	Detail   string        `json:"detail,omitempty"`
	Duration time.Duration `json:"-"` // until the connection stood
}

// Good: connected, and the protocol is spoken where there is a probe for it.
func (a Answer) Good() bool { return a.Reach == Connected && (a.Speech == "" || a.Speech == Speaks) }

// Target is what is probed, once for all providers that name it.
type Target struct {
	Host          string
	Port          uint16
	Protocol      string
	Serialization string
	TLS           bool // an open port will do: the certificates are between consumers and it
}

// Target is where a provider says that it is.
func (p Provider) Target() Target { return Target{p.Host, p.Port, p.Protocol, p.Serialization, p.TLS} }

// Probe connects and talks; each of both takes at most the timeout.
func Probe(ctx context.Context, dialer Dialer, t Target, timeout time.Duration) Answer {
	talk := speakers[t.Protocol]
	if t.TLS {
		talk = nil
	}
	answer := attempt(ctx, dialer, t, timeout, talk)
	// A provider that does not know a serialization may hang up, or answer nothing.
	if t.Protocol == "dubbo" && (answer.Speech == Closes || answer.Speech == Silent) && ctx.Err() == nil {
		other := fastjson
		if t.Serialization == "fastjson" {
			other = hessian2
		}
		if second := attempt(ctx, dialer, t, timeout, heartbeat(other)); second.Good() {
			return second
		}
		// Servers of HTTP wait for the end of a line that never comes.
		if third := attempt(ctx, dialer, t, timeout, options); third.Good() {
			answer.Speech, answer.Detail = Else, errElse.Error()+": HTTP/1"
		}
	}
	return answer
}

// speakers are the probes, by protocol. What they return wraps errElse when something else was said.
var speakers = map[string]func(io.ReadWriter, Target) error{
	"dubbo": func(rw io.ReadWriter, t Target) error {
		if t.Serialization == "fastjson" {
			return heartbeat(fastjson)(rw, t)
		}
		return heartbeat(hessian2)(rw, t)
	},
	"tri": settings, "grpc": settings,
	"rest": options, "http": options, "https": nil, "hessian": options, "webservice": options, "jsonrpc": options,
}

var errElse = errors.New("speaks something else")

// said is an error that tells the beginning of what was said instead.
func said(text []byte) error {
	const most = 40
	return fmt.Errorf("%w: it begins with %q", errElse, text[:min(len(text), most)])
}

func attempt(ctx context.Context, dialer Dialer, t Target, timeout time.Duration, talk func(io.ReadWriter, Target) error) Answer {
	begin := time.Now()
	dialing, cancel := context.WithTimeout(ctx, timeout)
	conn, err := dialer.Dial(dialing, t.Host, t.Port)
	cancel()
	if err != nil {
		a := Answer{Reach: Failed, Detail: err.Error()}
		if e := (*DialError)(nil); errors.As(err, &e) {
			a.Reach, a.From = e.Reach, e.From
		}
		return a
	}
	defer conn.Close()
	a := Answer{Reach: Connected, Duration: time.Since(begin)}
	if talk == nil {
		return a
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(timeout)) // a connection that is gone fails below
	switch err := talk(conn, t); {
	case err == nil:
		a.Speech = Speaks
	case errors.Is(err, errElse):
		a.Speech, a.Detail = Else, err.Error()
	case isTimeout(err):
		a.Speech, a.Detail = Silent, "accepts the connection and says nothing"
	default:
		a.Speech, a.Detail = Closes, "accepts the connection and hangs up"
	}
	return a
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// nonce is something that an echo can be known by.
func nonce() (n [8]byte) {
	_, _ = rand.Read(n[:]) // never fails
	n[0] &= 0x7f           // Java counts requests with signed numbers
	return n
}
