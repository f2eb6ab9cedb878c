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
	"github.com/waymark-bgp/waymark/internal/logformat"
	"github.com/waymark-bgp/waymark/internal/version"
)

const usage = `waymark-bfd watches the paths to BGP peers and egress gateways by BFD, for waymark-agent and in a process that outlives it. It runs as root.

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	runDir := flag.String("run-dir", "/run/waymark", "`directory` of the socket bfd.sock, the same as the agent's; made if it is not there")
	logFormat := flag.String("log-format", "text", "`format` of the log on standard error: text or json")
	showVersion := flag.Bool("version", false, "print the version and end")
	flag.Parse()
	if *showVersion {
		fmt.Println("waymark-bfd", version.String())
		return
	}
	if err := run(*runDir, *logFormat); err != nil {
		fmt.Fprintln(os.Stderr, "waymark-bfd:", err)
		os.Exit(1)
	}
}

func run(runDir, logFormat string) error {
	handler := logformat.Handler(logFormat)
	switch {
	case handler == nil:
		return fmt.Errorf("--log-format %q is neither text nor json", logFormat)
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case runDir == "":
		return errors.New("--run-dir is empty")
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
