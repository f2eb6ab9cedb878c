package gobgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// logHandler receives what GoBGP logs. Of a session that does not come up GoBGP tells the reason nowhere else, so the
// records of sessions become their LastError. What an operator should see goes on to our own log.
type logHandler struct {
	speaker *Speaker
	next    slog.Handler
	session *session // nil: not about one
}

// Enabled lets details through for sessions that are down only: in others GoBGP logs some for each route.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.session != nil && !h.session.up.Load()
}

// WithAttrs learns which session a logger is about.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next = h.next.WithAttrs(attrs)
	for _, a := range attrs {
		if address, err := netip.ParseAddr(a.Value.String()); err == nil && a.Key == "Key" {
			h.speaker.mu.RLock()
			c.session = h.speaker.sessions[address]
			h.speaker.mu.RUnlock()
		}
	}
	return &c
}

// WithGroup implements slog.Handler; GoBGP uses no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

// Handle takes a record over. What GoBGP says is of interest to its developers first: only errors keep their level.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "failed to stop BGP server" { // it has been stopped already, gracefully
		return nil
	}
	if h.session != nil {
		h.learn(r)
	}
	if r.Level < slog.LevelError && (h.session != nil || r.Level < slog.LevelWarn) {
		r.Level = slog.LevelDebug
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	r.Message = "GoBGP: " + r.Message
	return h.next.Handle(ctx, r)
}

func (h *logHandler) learn(r slog.Record) {
	values := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool {
		values[a.Key] = a.Value
		return true
	})
	reason, how := "", passing
	switch r.Message {
	case "failed to connect":
		reason = connectError(values["Error"].String())
	case "outgoing connection IO error":
		reason, how = "the peer accepts TCP and closes it again: it does not know our address, or waits after an earlier error", guessed
	case "hold timer expired":
		reason = "hold timer expired"
	case "Session will be reset due to malformed BGP message", "Session will be reset due to malformed BGP Header",
		"Session will be reset due to malformed BGP update message":
		reason, how = "malformed message from the peer: "+values["Error"].String(), stated
	case "received notification":
		reason, how = peerClosed(values["Code"].Int64(), values["Subcode"].Int64())
		if said, ok := values["Communicated-Reason"]; ok && said.String() != "" {
			reason += fmt.Sprintf(": %q", said.String())
		}
	case "sent notification":
		h.speaker.refused(h.session, values["Code"].Int64(), values["Subcode"].Int64())
	case "Peer Up":
		h.session.open.Store(true)
		h.speaker.forget(h.session)
		h.speaker.overhear(h.session)
	case "Peer Down":
		h.session.open.Store(false)
		switch values["Reason"].String() {
		case "read-failed", "write-failed", "graceful-restart":
			reason, how = "the connection broke", guessed
		}
	}
	if reason != "" {
		h.speaker.explain(h.session, reason, how)
	}
}

// known is how a reason is known. A guess does not replace what somebody has stated; all else replaces whatever was before.
type known uint8

const (
	guessed known = iota
	passing       // seen at one try; the next one may show something else
	stated        // by the peer, or about what it has said
)

// explain sets why a session is down.
func (s *Speaker) explain(n *session, reason string, how known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.over || s.sessions[n.peer.Address] != n || how == guessed && n.known == stated {
		return
	}
	n.state.LastError, n.known = reason, how
	if !n.up.Load() {
		s.tellReason(n)
	}
}

// forget is called before a session can give a new reason to be down.
func (s *Speaker) forget(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.state.LastError, n.known, n.told = "", guessed, nil
}

// tellReason logs why a session does not come up, each of the last few reasons once until it is up.
func (s *Speaker) tellReason(n *session) {
	const few = 8
	if slices.Contains(n.told, n.state.LastError) {
		return
	}
	n.told = append(n.told, n.state.LastError)
	n.told = n.told[max(0, len(n.told)-few):]
	s.log.Warn("BGP session is not up", "peer", n.peer.Name, "address", n.peer.Address, "reason", n.state.LastError)
}

// refused is called when we have closed a session with a NOTIFICATION.
func (s *Speaker) refused(n *session, code, subcode int64) {
	switch {
	case code == packet.BGP_ERROR_OPEN_MESSAGE_ERROR && subcode == packet.BGP_ERROR_SUB_BAD_PEER_AS:
		s.explain(n, "peer says another AS than the configured one", guessed)
		go s.overhear(n)
	case code == packet.BGP_ERROR_OPEN_MESSAGE_ERROR && subcode == packet.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER:
		s.explain(n, "the peer has our router ID, or none", stated)
	case code == packet.BGP_ERROR_OPEN_MESSAGE_ERROR:
		s.explain(n, "refused the peer's OPEN: "+notification(code, subcode), stated)
	case code == packet.BGP_ERROR_FSM_ERROR:
		go s.overhear(n) // GoBGP's answer to a NOTIFICATION instead of an OPEN
	}
}

// connectError shortens the error of a dial.
func connectError(text string) string {
	if strings.Contains(text, "timeout") {
		return "no answer on TCP: nobody there, filtered, or the MD5 passwords differ"
	}
	return "TCP: " + text[strings.LastIndex(text, ": ")+2:]
}

// peerClosed words a NOTIFICATION from the peer. That it wants none or no second connection now is said of one try only.
func peerClosed(code, subcode int64) (string, known) {
	how := stated
	if code == packet.BGP_ERROR_CEASE &&
		(subcode == packet.BGP_ERROR_SUB_CONNECTION_REJECTED || subcode == packet.BGP_ERROR_SUB_CONNECTION_COLLISION_RESOLUTION) {
		how = guessed
	}
	return "peer closed: " + notification(code, subcode), how
}

// notification puts the codes of RFC 4271, section 4.5, RFC 4486 and RFC 9384 into words.
func notification(code, subcode int64) string {
	text, ok := notifications[[2]int64{code, subcode}]
	if !ok {
		return packet.NewNotificationErrorCode(uint8(code), uint8(subcode)).String()
	}
	return fmt.Sprintf("%s (NOTIFICATION %d/%d)", text, code, subcode)
}

var notifications = map[[2]int64]string{
	{2, 2}:  "it expects another AS than ours",
	{2, 3}:  "it does not accept our router ID",
	{2, 6}:  "it does not accept our hold time",
	{2, 7}:  "it misses a capability of ours",
	{4, 0}:  "its hold timer expired",
	{6, 0}:  "it gives no reason",
	{6, 1}:  "too many prefixes from us",
	{6, 2}:  "administratively shut down",
	{6, 3}:  "it has deleted this neighbour",
	{6, 4}:  "administratively reset",
	{6, 5}:  "it rejects the connection",
	{6, 6}:  "its configuration changed",
	{6, 7}:  "two connections collided",
	{6, 8}:  "it is out of resources",
	{6, 9}:  "hard reset",
	{6, 10}: "its BFD session went down",
}
