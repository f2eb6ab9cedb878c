package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStageThatTakesLongIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := &Agent{Log: slog.New(slog.NewTextHandler(&log, nil))}
		for name, takes := range map[string]time.Duration{"nat": 3 * time.Second, "routes": time.Second} {
			_ = a.stage(name, func() error { time.Sleep(takes); return nil })
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "stage=nat took=3s") {
			t.Errorf("log:\n%swant that of nat alone", got)
		}
	})
}
