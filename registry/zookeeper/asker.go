package zookeeper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

// Asker asks servers for their limits and connections, by four-letter words and, where those are closed, by the AdminServer.
type Asker struct {
	Timeout   time.Duration // of each question
	AdminPort uint16        // admin.serverPort; usually 8080
	// TLS is spoken with the servers, if it is not nil, and not with their AdminServers. Without a name in it certificates
	// are to be of the host.
	TLS *tls.Config
}

// Dialer connects from somewhere, such as from inside a pod.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// connect connects to a server, HOST:PORT, that has an address of that form.
func connect(ctx context.Context, from Dialer, secure *tls.Config, server, address string) (net.Conn, error) {
	conn, err := from.DialContext(ctx, "tcp", address)
	if err != nil || secure == nil {
		return conn, err
	}
	config := secure.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(server)
	}
	with := tls.Client(conn, config)
	if err := with.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return with, nil
}

// Ask asks one server, HOST:PORT, everything. Without its connections there is an error; what else it does not tell is Unknown.
func (a Asker) Ask(ctx context.Context, server string) (registry.Server, error) {
	s := registry.Server{Name: server, Limit: registry.Unknown, Refused: registry.Unknown, Members: map[int]string{}}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return s, err
	}
	q := questioning{Asker: a, ctx: ctx, host: host, server: &s}

	limits := q.ask("conf", func(line string, _ uint16) error { return readConf(line, &s) }, func() error {
		var c configuration
		var members votingView
		if err := a.command(ctx, host, "configuration", &c); err != nil {
			return err
		}
		if a.command(ctx, host, "voting_view", &members) == nil { // of one that is alone there may be none
			members.into(&s)
		}
		return c.into(&s)
	})
	clients := q.ask("cons", func(line string, own uint16) error {
		c, err := readCons(line)
		if err == nil && (c.Session != 0 || c.Source.Port() != own) {
			s.Connections = append(s.Connections, c)
		}
		return err
	}, func() error {
		s.Connections = nil
		var c connections
		if err := a.command(ctx, host, "connections", &c); err != nil {
			return err
		}
		return c.into(&s)
	})
	// Both are good to know, and nothing hangs on them.
	_ = q.ask("srvr", func(line string, _ uint16) error { return readSrvr(line, &s) }, q.monitor)
	_ = q.ask("mntr", func(line string, _ uint16) error { return readMntr(line, &s) }, q.monitor)

	if limits == nil && s.Limit == registry.Unknown {
		limits = errors.New("the answer to conf has no maxClientCnxns")
	}
	for id, address := range s.Members {
		if host, p, err := net.SplitHostPort(address); err != nil {
			delete(s.Members, id)
		} else if p == "0" {
			s.Members[id] = net.JoinHostPort(host, port) // a server usually has the port that the others have
		}
	}
	if clients != nil {
		s.Connections = nil // some of them are no answer
		return s, fmt.Errorf("%s does not tell its connections: %w", server, clients)
	}
	if limits != nil {
		return s, fmt.Errorf("%s does not tell its limit: %w", server, limits)
	}
	return s, nil
}

// SeenAs opens a session with a server, HOST:PORT, that has an address of that form, from somewhere, and returns the address
// that the server says it comes from.
func (a Asker) SeenAs(ctx context.Context, from Dialer, server, address string) (netip.Addr, error) {
	if a.TLS != nil && a.TLS.ServerName == "" {
		a.TLS = a.TLS.Clone()
		a.TLS.ServerName, _, _ = net.SplitHostPort(server) // whichever address it is asked by
	}
	dialing, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	conn, err := connect(dialing, from, a.TLS, server, address)
	if err != nil {
		return netip.Addr{}, hungUp(err)
	}
	session, err := Open(ctx, conn, registry.Secret{}, a.Timeout)
	if err != nil {
		return netip.Addr{}, hungUp(err)
	}
	defer session.Close()
	s, err := a.Ask(ctx, address)
	for _, c := range s.Connections {
		if c.Session == session.ID {
			return c.Source.Addr(), nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%s does not list the session %#x that it has just given: is it several servers behind one address?", address, session.ID)
	}
	return netip.Addr{}, err
}

// questioning of one server: who was deaf once is not asked again, so that the whole is over in time.
type questioning struct {
	Asker
	ctx        context.Context
	host       string
	server     *registry.Server
	deaf       error // to words
	adminFails error // of the AdminServer
}

// ask asks by a word, else by a command.
func (q *questioning) ask(word string, read func(line string, own uint16) error, command func() error) error {
	byWord := q.deaf
	if byWord == nil {
		err := q.speak(q.ctx, q.server.Name, word, read)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errClosed):
			byWord = fmt.Errorf("%s %w", word, err)
		default:
			byWord = fmt.Errorf("%s: %w", word, err)
			q.deaf = byWord
			if errors.Is(err, syscall.ECONNREFUSED) && q.adminFails == nil {
				q.adminFails = errors.New("not asked: where no server listens it is of another server of the host")
			}
		}
	}
	byCommand := q.adminFails
	if byCommand == nil {
		if byCommand = command(); byCommand == nil {
			return nil
		}
		q.adminFails = byCommand
	}
	return &ClosedError{ByWord: byWord, ByCommand: byCommand, Port: q.AdminPort}
}

func (q *questioning) monitor() error {
	var m monitor
	if err := q.command(q.ctx, q.host, "monitor", &m); err != nil {
		return err
	}
	m.into(q.server)
	return nil
}

// ClosedError is that a server answers neither a word nor a command. It says what would open it.
type ClosedError struct {
	ByWord, ByCommand error
	Port              uint16 // of the AdminServer
}

func (e *ClosedError) Error() string {
	text := fmt.Sprintf("%v; AdminServer: %v", e.ByWord, e.ByCommand)
	if errors.Is(e.ByWord, errClosed) {
		text += fmt.Sprintf(". In its zoo.cfg set 4lw.commands.whitelist=srvr,conf,cons,mntr, or admin.enableServer=true and let port %d be reached from here", e.Port)
	}
	return text
}

// Unwrap returns both causes.
func (e *ClosedError) Unwrap() []error { return []error{e.ByWord, e.ByCommand} }

// hungUp says what it means when a server ends the connection before it has said anything, even while it is being opened.
func hungUp(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errHungUp
	}
	return err
}
