package bfd

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := SessionConfig{Key: Key{Peer: netip.MustParseAddr("192.0.2.1")}, Timing: usual}
	v6 := good
	v6.Peer = netip.MustParseAddr("fe80::1")
	v6.Interface = "eth0"
	for _, c := range []struct {
		base SessionConfig
		edit func(*SessionConfig)
		want string // part of the error; empty: valid
	}{
		{good, func(c *SessionConfig) {}, ""},
		{v6, func(c *SessionConfig) {}, ""},
		{good, func(c *SessionConfig) { c.Multihop, c.MinTTL = true, 250 }, ""},
		{good, func(c *SessionConfig) { c.Peer = netip.Addr{} }, "peer"},
		{good, func(c *SessionConfig) { c.Peer = netip.MustParseAddr("0.0.0.0") }, "peer"},
		{good, func(c *SessionConfig) { c.Peer = netip.MustParseAddr("224.0.0.1") }, "peer"},
		{good, func(c *SessionConfig) { c.Peer = netip.MustParseAddr("::ffff:192.0.2.1") }, "peer"},
		{good, func(c *SessionConfig) { c.Local = netip.MustParseAddr("2001:db8::1") }, "family"},
		{v6, func(c *SessionConfig) { c.Peer = c.Peer.WithZone("eth0") }, "zone"},
		{v6, func(c *SessionConfig) { c.Interface = "" }, "interface"},
		{v6, func(c *SessionConfig) { c.Interface = "a-name-of-16-byte" }, "interface"},
		{good, func(c *SessionConfig) { c.MinTTL = 254 }, "minTTL"},
		{good, func(c *SessionConfig) { c.DetectMult = 0 }, "detectMult"},
		{good, func(c *SessionConfig) { c.DesiredMinTx = 0 }, "desiredMinTx"},
		{good, func(c *SessionConfig) { c.DesiredMinTx = 9 * time.Millisecond }, "desiredMinTx"},
		{good, func(c *SessionConfig) { c.RequiredMinRx = time.Hour }, "requiredMinRx"},
	} {
		config := c.base
		c.edit(&config)
		err := config.Validate()
		if c.want == "" && err != nil {
			t.Errorf("%+v: %v", config, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", config, err, c.want)
		}
	}
}

func TestValidateConfig(t *testing.T) {
	good := SessionConfig{Key: Key{Peer: netip.MustParseAddr("192.0.2.1")}, Timing: usual}
	bad := good
	bad.DetectMult = 0
	prefix := netip.MustParsePrefix
	for _, c := range []struct {
		config Config
		want   string // part of the error; empty: valid
	}{
		{Config{}, ""},
		{Config{Sessions: []SessionConfig{good}, Passive: []netip.Prefix{prefix("192.0.2.1/32"), prefix("2001:db8::/64")}}, ""},
		{Config{Sessions: []SessionConfig{good, bad}}, "detectMult"},
		{Config{Sessions: []SessionConfig{good, good}}, "wanted twice"},
		{Config{Passive: []netip.Prefix{prefix("192.0.2.1/24")}}, "192.0.2.1/24"},
		{Config{Passive: []netip.Prefix{{}}}, "prefix"},
		{Config{Passive: []netip.Prefix{prefix("::ffff:192.0.2.1/128")}}, "::ffff:192.0.2.1"},
	} {
		err := c.config.Validate()
		if c.want == "" && err != nil {
			t.Errorf("%+v: %v", c.config, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}

func TestStatusInJSON(t *testing.T) {
	want := Status{
		Key: Key{Peer: netip.MustParseAddr("192.0.2.1"), Multihop: true}, State: Up, RemoteState: AdminDown,
		Since: start, Dropped: map[Reason]uint64{LowTTL: 3},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"peer":"192.0.2.1","multihop":true,"state":"Up"`) {
		t.Errorf("JSON is %s", text)
	}
	var got Status
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	var state State
	if err := state.UnmarshalText([]byte("Sideways")); err == nil {
		t.Error("a state of no name is accepted")
	}
}
