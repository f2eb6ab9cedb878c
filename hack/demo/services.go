package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

const registryPort = "2181"

// playRegistry answers ZooKeeper's four-letter words: cons tells the connection as ZooKeeper would, with the address that
// the client has here.
func playRegistry(ctx context.Context) error {
	l, err := net.Listen("tcp4", ":"+registryPort)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			word, _ := bufio.NewReader(conn).ReadString('\n')
			switch strings.TrimSpace(word) {
			case "ruok":
				fmt.Fprint(conn, "imok")
			case "cons":
				fmt.Fprintf(conn, " /%s[0](queued=0,recved=1,sent=0)\n", conn.RemoteAddr())
			}
		}()
	}
}

// playPod is a web server that says who talks to whom.
func playPod(ctx context.Context, name, node string) error {
	server := &http.Server{Addr: ":80", ReadHeaderTimeout: 5 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		you, _, _ := net.SplitHostPort(r.RemoteAddr)
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		me, _, _ := net.SplitHostPort(local.String())
		fmt.Fprintf(w, "%s on %s at %s, you are %s\n", name, node, me, you)
	})
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
