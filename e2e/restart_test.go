package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// routers are the two kinds of router that stories are told with. BFD is strict on their side: a BFD failure ends the
// session at once, graceful restart or not.
var routers = []struct {
	name  string
	start func(t testing.TB, l *Lab, bfd bool)
}{
	{"FRR", func(t testing.TB, l *Lab, bfd bool) {
		lines := ""
		if bfd {
			lines = "neighbor " + nodeAddr + " bfd 3 100 100"
		}
		nettest.StartFRR(t, l.Router, bfd, routerFRR(lines))
	}},
	{"BIRD", func(t testing.TB, l *Lab, bfd bool) {
		lines := ""
		if bfd {
			lines = "bfd on;"
		}
		nettest.StartBIRD(t, l.Router, routerBIRD(lines))
	}},
}

const restarts = 10

// TestRestartUnderLoad: the agent is ended and started ten times while packets cross the node in both directions. Not one
// is lost, and the outside host always sees the pod's own address.
func TestRestartUnderLoad(t *testing.T) {
	for _, router := range routers {
		for _, bfd := range []bool{false, true} {
			for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
				t.Run(fmt.Sprintf("%s/bfd=%v/%v", router.name, bfd, end), func(t *testing.T) {
					l := NewLab(t)
					router.start(t, l, bfd)
					if bfd {
						l.BFD(t)
						l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
					} else {
						l.Speak(t)
					}
					restartUnderLoad(t, l, end)
				})
			}
		}
	}
}

func restartUnderLoad(t *testing.T, l *Lab, end syscall.Signal) {
	begin := time.Now()
	agent := l.Agent(t)
	l.Settled(t, begin)
	reachable(t, l)
	stream := StartStream(t, l.Host, hostAddr, l.Pod, podAddr)
	for range restarts {
		agent.Signal(end)
		<-agent.Done()
		begin = time.Now()
		agent = l.Agent(t)
		l.Settled(t, begin)
	}
	host, pod := stream.Stop(t)
	if host.Sent < 1000 || pod.Sent < 1000 {
		t.Errorf("only %d and %d packets were sent: that is no load", host.Sent, pod.Sent)
	}
}

func reachable(t *testing.T, l *Lab) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		if _, err := l.Host.Try("ping", "-c1", "-W1", podAddr); err != nil {
			return err
		}
		_, err := l.Pod.Try("ping", "-c1", "-W1", hostAddr)
		return err
	})
}
