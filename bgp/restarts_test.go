package bgp

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRestarts(t *testing.T) {
	a := Config{ASN: 1, ListenPort: 179, GracefulRestart: GracefulRestart{Enabled: true, RestartTime: time.Minute}}
	b := a
	b.GracefulRestart.Restarting = true
	b.Accept, b.Announce = []FilterRule{{}}, []Announcement{{}}
	if got := a.Restarts(&b); got != nil {
		t.Errorf("%v end all sessions", got)
	}
	b.ASN, b.RouterID, b.ListenPort, b.GracefulRestart.RestartTime = 2, netip.MustParseAddr("10.0.0.1"), 0, time.Hour
	if got := strings.Join(a.Restarts(&b), " "); got != "asn router ID listenPort gracefulRestart" {
		t.Errorf("%s end all sessions", got)
	}
}

// TestEveryFieldOfAPeerIsClassified changes one field after the other: each either ends the session or takes effect under
// it, but for the count of BFD's failures, which is no setting.
func TestEveryFieldOfAPeerIsClassified(t *testing.T) {
	adapts := map[string]bool{"Name": true, "Import": true, "Export": true, "MaxPrefixes": true, "Attributes": true}
	for i := range reflect.TypeFor[Peer]().NumField() {
		var before, next Peer
		name := reflect.TypeFor[Peer]().Field(i).Name
		if name == "Password" {
			next.Password = NewPassword("key")
		} else {
			fill(reflect.ValueOf(&next).Elem().Field(i))
		}
		restarts, adapted := len(before.Restarts(&next)), len(before.Adapts(&next))
		wantRestarts, wantAdapted := 1, 0
		if adapts[name] {
			wantRestarts, wantAdapted = 0, 1
		} else if name == "PathFailures" {
			wantRestarts = 0
		}
		if restarts != wantRestarts || adapted != wantAdapted {
			t.Errorf("%s: ends the session by %d settings and is changed under it by %d", name, restarts, adapted)
		}
	}
}

// fill sets a value to something that is not its zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		if addr, ok := v.Addr().Interface().(*netip.Addr); ok {
			*addr = netip.MustParseAddr("10.0.0.1")
			return
		}
		fill(v.Field(0))
	}
}
