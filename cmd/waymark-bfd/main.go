// Command waymark-bfd holds BFD sessions for waymark-agent, in a process of its own so that they outlive it. The agent
// tells it over a Unix socket which sessions to hold. SIGTERM ends it with AdminDown on every session.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/waymark-bgp/waymark/bfd/control"
	"github.com/waymark-bgp/waymark/bfd/udp"
)

func main() {
	runDir := flag.String("run-dir", "/run/waymark", "directory of the socket bfd.sock")
	logFormat := flag.String("log-format", "text", "text or json")
	flag.Parse()
	if err := run(*runDir, *logFormat); err != nil {
		fmt.Fprintln(os.Stderr, "waymark-bfd:", err)
		os.Exit(1)
	}
}

func run(runDir, logFormat string) error {
	var handler slog.Handler
	switch logFormat {
	case "text":
		handler = slog.NewTextHandler(os.Stderr, nil)
	case "json":
		handler = slog.NewJSONHandler(os.Stderr, nil)
	default:
		return fmt.Errorf("--log-format %q is neither text nor json", logFormat)
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	log := slog.New(handler)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	speaker := udp.New(log)
	server := control.NewServer(runDir, speaker, log)
	ended := make(chan error)
	for _, run := range []func(context.Context) error{speaker.Run, server.Run} {
		go func() {
			err := run(ctx)
			stop() // if one ends, so does the other
			ended <- err
		}()
	}
	return errors.Join(<-ended, <-ended)
}
