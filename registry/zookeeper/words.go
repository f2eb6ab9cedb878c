package zookeeper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

const (
	maxReport = 16 << 20 // bytes of an answer with connections: 40,000 of them at least
	maxAbout  = 1 << 20  // bytes of another
	maxLine   = 64 << 10
)

// Why a word has no answer.
var (
	errClosed = errors.New("is not in 4lw.commands.whitelist")
	errHungUp = errors.New("the server hangs up at once: this host's address may have all the connections that it may have (maxClientCnxns), or the port is one for TLS")
)

// speak says a four-letter word to a server and reads the answer, line by line, until the server hangs up. Own is the port
// that the connection has here.
func (a Asker) speak(ctx context.Context, server, word string, read func(line string, own uint16) error) error {
	dialing, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	conn, err := connect(dialing, &net.Dialer{KeepAlive: -1}, a.TLS, server, server)
	if err != nil {
		return hungUp(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(a.Timeout)) // of the whole answer: one may come forever
	if _, err := io.WriteString(conn, word); err != nil {
		return hungUp(err)
	}
	own := netip.AddrPort{}
	if local, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		own = local.AddrPort()
	}
	most := maxAbout
	if word == "cons" {
		most = maxReport
	}
	in := bufio.NewReaderSize(conn, maxLine)
	for heard := 0; ; {
		text, err := in.ReadSlice('\n')
		if heard += len(text); heard > most {
			return fmt.Errorf("the answer is longer than %d MiB", most>>20)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("not understood: %.80q", text)
		case errors.Is(err, io.EOF) && heard == 0:
			return errHungUp
		case errors.Is(err, os.ErrDeadlineExceeded) && heard == 0:
			return fmt.Errorf("no answer (or the port is one for TLS): %w", err)
		case err != nil && !errors.Is(err, io.EOF) && heard == 0:
			return hungUp(err)
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("the answer does not end: %w", err)
		}
		switch line := string(bytes.TrimSpace(text)); {
		case strings.HasSuffix(line, "is not executed because it is not in the whitelist."):
			return errClosed
		case line == notServing:
			return errors.New("the server does not serve: it has no quorum, or is starting")
		case line == "":
		default:
			if err := read(line, own.Port()); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

const notServing = "This ZooKeeper instance is not currently serving requests"

// readConf reads a line of the answer to conf into s: maxClientCnxns=60, server.1=HOST:2888:3888:participant;HOST:2181.
func readConf(line string, s *registry.Server) error {
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		if strings.HasPrefix(line, "membership:") {
			return nil
		}
		return fmt.Errorf("not understood: %.80q", line)
	}
	switch {
	case key == "maxClientCnxns":
		limit, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("maxClientCnxns: %w", err)
		}
		s.Limit = max(limit, 0)
	case key == "serverId":
		s.ID, _ = strconv.Atoi(value) // it may be the ID of none
	case strings.HasPrefix(key, "server."):
		if id, err := strconv.Atoi(strings.TrimPrefix(key, "server.")); err == nil {
			s.Members[id] = member(value)
		}
	}
	return nil
}

// member is where clients reach a server of the ensemble, by its line: HOST:QUORUM:ELECTION[|HOST...][:ROLE][;[HOST:]PORT]. The
// client's part may have no address, or the one of all interfaces, and is not there if the server's own zoo.cfg says it; then
// the port is zero.
func member(value string) string {
	servers, client, _ := strings.Cut(value, ";")
	server, _, _ := strings.Cut(servers, "|")
	host, rest, ok := strings.Cut(server, ":")
	if strings.HasPrefix(server, "[") {
		host, rest, ok = strings.Cut(server[1:], "]")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String() // Java writes all zeros of IPv6
	} else if !ok || host == "" || rest == "" || strings.ContainsAny(host, "[]%") {
		return ""
	}
	if client == "" {
		return net.JoinHostPort(host, "0")
	}
	at := strings.LastIndexByte(client, ':')
	port, err := strconv.ParseUint(client[at+1:], 10, 16)
	if err != nil {
		return ""
	}
	if addr, err := netip.ParseAddr(strings.Trim(client[:max(at, 0)], "[]")); err == nil && !addr.IsUnspecified() {
		host = addr.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// readCons reads a line of the answer to cons: " /ADDRESS:PORT[1](queued=0,recved=1,sent=1,sid=0x1000252d35c0001,...)".
func readCons(line string) (registry.Connection, error) {
	var c registry.Connection
	who, rest, ok := strings.Cut(line, "(")
	end := strings.LastIndexByte(who, '[') // of the interest, behind the port
	if !ok || end < 0 {
		return c, fmt.Errorf("not understood: %.80q", line)
	}
	source, err := sourceOf(who[:end])
	if err != nil {
		return c, fmt.Errorf("not understood: %.80q: %w", line, err)
	}
	c.Source = source
	for field := range strings.SplitSeq(strings.TrimSuffix(rest, ")"), ",") {
		if id, ok := strings.CutPrefix(field, "sid=0x"); ok {
			number, err := strconv.ParseUint(id, 16, 64)
			if err != nil {
				return c, fmt.Errorf("not understood: %.80q: %w", line, err)
			}
			c.Session = int64(number)
		}
	}
	return c, nil
}

// sourceOf reads what Java writes of a client, by its versions: NAME/10.0.0.1:2, /10.0.0.1:2, [::1]:2, /0:0:0:0:0:0:0:1%eth0:2.
func sourceOf(text string) (netip.AddrPort, error) {
	text = text[strings.LastIndexByte(text, '/')+1:]
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return netip.AddrPort{}, errors.New("no port")
	}
	addr, err := netip.ParseAddr(strings.Trim(text[:at], "[]"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(text[at+1:], 10, 16)
	return netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(port)), err
}

// readSrvr reads a line of the answer to srvr: "Mode: leader", "Zookeeper version: 3.8.0-5a02a05, built on ...".
func readSrvr(line string, s *registry.Server) error {
	key, value, _ := strings.Cut(line, ": ")
	switch strings.ToLower(key) {
	case "mode":
		s.Mode = value
	case "zookeeper version":
		s.Version = versionOf(value)
	}
	return nil
}

// versionOf is 3.8.0 of "3.8.0-5a02a05, built on 2024-12-29 17:54 UTC".
func versionOf(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		return text
	}
	return text[:end]
}

// readMntr reads a line of the answer to mntr: "zk_connection_rejected	0".
func readMntr(line string, s *registry.Server) error {
	if value, ok := strings.CutPrefix(line, "zk_connection_rejected\t"); ok {
		refused, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("zk_connection_rejected: %w", err)
		}
		s.Refused = refused
	}
	return nil
}
