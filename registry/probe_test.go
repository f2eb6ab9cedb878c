package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// dialer dials for real.
type dialer struct{}

func (dialer) Dial(ctx context.Context, host string, port uint16) (Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(host, port))
}

// listen answers each connection at an own address.
func listen(t *testing.T, answer func(net.Conn)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	return Target{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port)}
}

// dubbo answers heartbeats of some serializations, as Dubbo does: with null in the same, and the ID of the request.
func dubbo(serializations string) func(net.Conn) {
	return func(c net.Conn) {
		frame := make([]byte, 16)
		if _, err := io.ReadFull(c, frame); err != nil || frame[0] != 0xda || frame[1] != 0xbb || frame[2]&0xe0 != 0xe0 {
			return
		}
		body := make([]byte, frame[15])
		_, _ = io.ReadFull(c, body)
		id := frame[2] & 0x1f
		if want := map[byte]string{2: "N", 6: "null\n"}[id]; string(body) != want || !strings.Contains(serializations, fmt.Sprint(id)) {
			return
		}
		frame[2], frame[3] = 0x20|id, 20
		// A heartbeat of the provider's own comes first.
		_, _ = c.Write([]byte("\xda\xbb\xe2\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01N"))
		_, _ = c.Write(append(frame, body...))
	}
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

func TestProbe(t *testing.T) {
	plain := http.Server{Handler: http.NotFoundHandler()}
	modern := http.Server{Handler: http.NotFoundHandler(), Protocols: new(http.Protocols)}
	modern.Protocols.SetUnencryptedHTTP2(true)
	serve := func(s *http.Server) Target {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		go s.Serve(l)
		return Target{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port)}
	}
	http1, http2 := serve(&plain), serve(&modern)
	hessian, json, nothing := listen(t, dubbo("2")), listen(t, dubbo("6")), listen(t, says(""))
	ssh, tls := listen(t, says("SSH-2.0-OpenSSH_9.2\r\n")), listen(t, says("\x15\x03\x01\x00\x02\x02\x46"))
	hangsUp := listen(t, func(net.Conn) {})
	for _, tt := range []struct {
		name, protocol, serialization string
		target                        Target
		want                          Speech
		detail                        string
	}{
		{"hessian2", "dubbo", "", hessian, Speaks, ""},
		{"fastjson", "dubbo", "fastjson", json, Speaks, ""},
		{"fastjson, which the entry does not say", "dubbo", "", json, Speaks, ""},
		{"hessian2, whatever the entry says", "dubbo", "fastjson", hessian, Speaks, ""},
		{"Dubbo is to be, SSH is", "dubbo", "", ssh, Else, `it begins with "SSH-2.0-`},
		{"Dubbo is to be, TLS is", "dubbo", "", tls, Else, `it begins with "\x15\x03\x01`},
		{"Dubbo is to be, HTTP is", "dubbo", "", http1, Else, "HTTP/1"},
		{"silence", "dubbo", "", nothing, Silent, ""},
		{"hangs up", "dubbo", "", hangsUp, Closes, ""},
		{"Triple", "tri", "", http2, Speaks, ""},
		{"gRPC", "grpc", "", http2, Speaks, ""},
		{"Triple is to be, HTTP/1 is", "tri", "", http1, Else, `it begins with "HTTP/1.1`},
		{"Triple is to be, Dubbo is", "tri", "", hessian, Closes, ""},
		{"Triple, silence", "tri", "", nothing, Silent, ""},
		{"Triple, SETTINGS and no more", "tri", "", listen(t, says("\x00\x00\x00\x04\x00\x00\x00\x00\x00")), Silent, ""},
		{"REST", "rest", "", http1, Speaks, ""},
		{"REST is to be, SSH is", "rest", "", ssh, Else, "SSH"},
		{"REST, silence", "rest", "", nothing, Silent, ""},
		{"nobody knows the protocol", "thrift", "", nothing, "", ""},
		{"no protocol", "", "", ssh, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.target.Protocol, tt.target.Serialization = tt.protocol, tt.serialization
			begin := time.Now()
			a := Probe(t.Context(), dialer{}, tt.target, 300*time.Millisecond)
			if a.Reach != Connected || a.Speech != tt.want || !strings.Contains(a.Detail, tt.detail) || time.Since(begin) > 2*time.Second {
				t.Errorf("after %v: %+v", time.Since(begin), a)
			}
		})
	}
}

func TestProbeOfTLS(t *testing.T) {
	p, err := ParseURL("dubbo%3A%2F%2F127.0.0.1%3A1%2Fcom.x.Greeter%3Fssl-enabled%3Dtrue")
	if err != nil {
		t.Fatal(err)
	}
	target := p.Target()
	target.Port = listen(t, says("\x15\x03\x03\x00\x02\x02\x0a")).Port // the alert of a server that is spoken to without TLS
	if a := Probe(t.Context(), dialer{}, target, time.Second); !a.Good() || a.Speech != "" {
		t.Errorf("%+v", a)
	}
	target.TLS = false
	if a := Probe(t.Context(), dialer{}, target, time.Second); a.Speech != Else {
		t.Errorf("without: %+v", a)
	}
}

func TestProbeOfADeadPort(t *testing.T) {
	refused := errors.New("refused")
	a := Probe(t.Context(), dialerFunc(func() (Conn, error) { return nil, &DialError{Reach: Refused, Err: refused} }), Target{Protocol: "dubbo"}, time.Second)
	if a.Reach != Refused || a.Speech != "" || a.Detail != "refused" || a.Good() {
		t.Errorf("%+v", a)
	}
}

type dialerFunc func() (Conn, error)

func (f dialerFunc) Dial(context.Context, string, uint16) (Conn, error) { return f() }

// TestSurvey: each target once, no more at a time than told, and where everybody is silent the wait gets shorter.
func TestSurvey(t *testing.T) {
	var targets []Target
	for i := range 40 {
		targets = append(targets, Target{Host: fmt.Sprintf("192.0.2.%d", i/2+1), Port: 1})
	}
	begin := time.Now()
	progress := 0
	silent := &blackHole{}
	answers := Survey{Dialer: silent, Dials: 2, Timeout: 1500 * time.Millisecond, Progress: func(n int) { progress = n }}.Run(t.Context(), targets)
	took := time.Since(begin)
	if silent.most.Load() != 2 || len(answers) != 20 || progress != 20 || answers[targets[0]].Reach != NoAnswer {
		t.Errorf("%d answers, progress %d: %+v", len(answers), progress, answers[targets[0]])
	}
	// 4 in pairs of 1.5 s, 16 in pairs of 0.25 s.
	if took < 4*time.Second || took > 8*time.Second {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if answers := (Survey{Dialer: silent, Dials: 2, Timeout: time.Minute}).Run(ctx, targets); len(answers) > 0 {
		t.Errorf("answers after the end: %v", answers)
	}
}

// TestSurveyOfTheMute: those that accept and say nothing are not waited for in full either, nor are names that nobody resolves.
func TestSurveyOfTheMute(t *testing.T) {
	for name, tt := range map[string]struct {
		host string
		dial dialerFunc
		want func(Answer) bool
		most time.Duration
	}{
		"mute": {"192.0.2.%d", func() (Conn, error) {
			ours, _ := net.Pipe()
			return drain{ours}, nil
		}, func(a Answer) bool { return a.Reach == Connected && a.Speech == Silent }, 20 * time.Second},
		"names": {"shop-%d.example.com", nil, func(a Answer) bool { return a.Reach == Unresolved }, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var targets []Target
			for i := range 40 {
				targets = append(targets, Target{Host: fmt.Sprintf(tt.host, i+1), Port: 1, Protocol: "dubbo"})
			}
			var d Dialer = tt.dial
			if tt.dial == nil {
				d = noNames{}
			}
			begin := time.Now()
			answers := Survey{Dialer: d, Dials: 4, Timeout: 1200 * time.Millisecond}.Run(t.Context(), targets)
			// The first in up to two rounds of 1.2 s, of the mute three times over, and then 0.2 s each; otherwise it takes 12 s and 36 s.
			if took := time.Since(begin); took > tt.most {
				t.Errorf("took %v", took)
			}
			for _, target := range targets {
				if !tt.want(answers[target]) {
					t.Errorf("%s: %+v", target.Host, answers[target])
				}
			}
		})
	}
}

// drain takes what is written and never says a word.
type drain struct{ net.Conn }

func (drain) Write(p []byte) (int, error) { return len(p), nil }

// noNames is without a name server that answers.
type noNames struct{}

func (noNames) Dial(ctx context.Context, _ string, _ uint16) (Conn, error) {
	<-ctx.Done()
	return nil, &DialError{Reach: Unresolved, Err: ctx.Err()}
}

// blackHole counts how many are in it.
type blackHole struct{ now, most atomic.Int64 }

func (b *blackHole) Dial(ctx context.Context, _ string, _ uint16) (Conn, error) {
	defer b.now.Add(-1)
	if n := b.now.Add(1); n > b.most.Load() {
		b.most.Store(n)
	}
	<-ctx.Done()
	return nil, &DialError{Reach: NoAnswer, Err: ctx.Err()}
}

// both reads from one and forgets what is written.
type both struct{ io.Reader }

func (both) Write(p []byte) (int, error) { return len(p), nil }

// FuzzAnswers: whatever a port says, it is judged, and is not taken for an answer to what nobody else can know.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\xda\xbb\x22\x14\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01N"))
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678"))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id := nonce()
		if bytes.Contains(text, id[:]) {
			return
		}
		if heartbeatAnswer(bytes.NewReader(text), id) == nil {
			t.Error("taken for an answer to a heartbeat")
		}
		if settingsAnswer(both{bytes.NewReader(text)}, id) == nil {
			t.Error("taken for an answer to a PING")
		}
		if err := optionsAnswer(bytes.NewReader(text)); err == nil && !bytes.HasPrefix(text, []byte("HTTP/1.")) {
			t.Error("taken for HTTP")
		}
	})
}
