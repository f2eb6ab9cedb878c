package gobgp

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/config"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The test binary is also a speaker of its own, to be killed, and a GoBGP daemon, to be a peer.
const (
	asSpeaker = "WAYMARK_TEST_SPEAKER" // directory with job.json
	asGoBGP   = "WAYMARK_TEST_GOBGP"   // directory with gobgpd.toml
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asSpeaker) != "":
		exit(runSpeaker(os.Getenv(asSpeaker)))
	case os.Getenv(asGoBGP) != "":
		exit(runGoBGP(os.Getenv(asGoBGP)))
	}
	nettest.Main(m)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// speakerJob is in what a speaker of its own differs from speakerConfig.
type speakerJob struct {
	Restarting bool
	Announce   []bgp.Announcement
	Absent     netip.Addr // of another peer, which does not answer
}

// runSpeaker is an agent that knows BGP only. SIGTERM stops it gracefully, SIGUSR1 withdraws.
func runSpeaker(dir string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	text, err := os.ReadFile(filepath.Join(dir, "job.json"))
	if err != nil {
		return err
	}
	var job speakerJob
	if err := json.Unmarshal(text, &job); err != nil {
		return err
	}
	c := speakerConfig()
	c.GracefulRestart.Restarting, c.Announce = job.Restarting, job.Announce
	if job.Absent.IsValid() {
		absent := c.Peers[0]
		absent.Name, absent.Address = "absent", job.Absent
		c.Peers = append(c.Peers, absent)
	}
	s := New(slog.New(slog.NewTextHandler(os.Stderr, nil)), filepath.Join(dir, "gobgp.sock"), false, func() {})
	if err := s.Apply(context.Background(), c); err != nil {
		return err
	}
	return s.Stop(context.Background(), <-signals == syscall.SIGTERM)
}

func runGoBGP(dir string) error {
	c, err := config.ReadConfigFile(filepath.Join(dir, "gobgpd.toml"), "toml")
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	s := server.NewBgpServer(server.GrpcListenAddress("unix://"+filepath.Join(dir, "sock")),
		server.LoggerOption(slog.New(slog.NewTextHandler(os.Stderr, nil)), level))
	go s.Serve()
	if _, err := config.InitialConfig(context.Background(), s, c, false); err != nil {
		return err
	}
	select {}
}
