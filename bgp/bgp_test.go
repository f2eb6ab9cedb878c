package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCommunities(t *testing.T) {
	for text, want := range map[string]string{
		"64512:100":   "",
		"0:0":         "",
		"65535:65535": "",
		"65536:1":     `"65536" is not a number of 0..65535`,
		"64512":       "want 2 numbers",
		"1:2:3":       "want 2 numbers",
		"64512:-1":    `"-1" is not a number`,
		"no-export":   "want 2 numbers",
	} {
		c, err := ParseCommunity(text)
		check(t, text, err, want)
		if err == nil && c.String() != text {
			t.Errorf("%q prints as %q", text, c)
		}
	}
	for text, want := range map[string]string{
		"1:2:3":          "",
		"4294967295:0:1": "",
		"4294967296:0:1": "is not a number of 0..4294967295",
		"1:2":            "want 3 numbers",
	} {
		c, err := ParseLargeCommunity(text)
		check(t, text, err, want)
		if err == nil && c.String() != text {
			t.Errorf("%q prints as %q", text, c)
		}
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	p := Peer{Password: NewPassword("hunter2")}
	encoded, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(p), fmt.Sprintf("%+v", p), fmt.Sprintf("%#v", p), fmt.Sprintf("%x", p.Password), string(encoded)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password is in %s", text)
		}
	}
	if p.Password.Reveal() != "hunter2" {
		t.Error("Reveal does not return the password")
	}
}

func TestConfigValidate(t *testing.T) {
	valid := func() Config {
		return Config{
			ASN: 64513, RouterID: netip.MustParseAddr("10.0.0.1"), ListenPort: 179,
			GracefulRestart: GracefulRestart{Enabled: true, RestartTime: 2 * time.Minute},
			Announce:        []Announcement{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}},
		}
	}
	for want, change := range map[string]func(*Config){
		"":                               func(*Config) {},
		"ASN is 0":                       func(c *Config) { c.ASN = 0 },
		"router ID is invalid IP":        func(c *Config) { c.RouterID = netip.Addr{} },
		"router ID is ::1":               func(c *Config) { c.RouterID = netip.MustParseAddr("::1") },
		"restart time is 1h8m16s":        func(c *Config) { c.GracefulRestart.RestartTime = 4096 * time.Second },
		"accept: filter 10.0.0.0/8":      func(c *Config) { c.Accept = []FilterRule{rule("10.0.0.0/8", 0, 0, Accept)} },
		"10.1.0.0/24 is there twice":     func(c *Config) { c.Announce = append(c.Announce, c.Announce[0]) },
		"announce: prefix 10.1.0.5/24 h": func(c *Config) { c.Announce[0].Prefix = netip.MustParsePrefix("10.1.0.5/24") },
	} {
		c := valid()
		change(&c)
		check(t, want, c.Validate(), want)
	}
}

func TestValidPeers(t *testing.T) {
	valid := Peer{Name: "rr", Address: netip.MustParseAddr("10.0.0.254"), ASN: 64512, Families: []Family{IPv4, IPv6}}
	for want, change := range map[string]func(*Peer){
		"":                                    func(*Peer) {},
		"peer rr (10.0.0.254): ASN is 0":      func(p *Peer) { p.ASN = 0 },
		"this node itself":                    func(p *Peer) { p.Address = netip.MustParseAddr("10.0.0.1") },
		"no address of a router":              func(p *Peer) { p.Address = netip.Addr{} },
		"needs its interface":                 func(p *Peer) { p.Address = netip.MustParseAddr("fe80::1") },
		"exclude each other":                  func(p *Peer) { p.MultihopTTL, p.TTLSecurity = 2, 1 },
		"hold time is 2s, want at least 3s":   func(p *Peer) { p.Timers.Hold = 2 * time.Second },
		"want whole seconds":                  func(p *Peer) { p.Timers.ConnectRetry = time.Millisecond },
		"keepalive 9s is not shorter":         func(p *Peer) { p.Timers = Timers{Hold: 9 * time.Second, Keepalive: 9 * time.Second} },
		"no address family":                   func(p *Peer) { p.Families = nil },
		"families are [ipv4 ipv4]":            func(p *Peer) { p.Families = []Family{IPv4, IPv4} },
		"passive, but the speaker does not":   func(p *Peer) { p.Passive = true },
		"longer than 80 bytes":                func(p *Peer) { p.Password = NewPassword(strings.Repeat("x", 81)) },
		"import: filter 10.0.0.0/8: minimum":  func(p *Peer) { p.Import = []FilterRule{rule("10.0.0.0/8", 0, 0, Accept)} },
		"export: filter 10.0.0.0/8: minimum":  func(p *Peer) { p.Export = []FilterRule{rule("10.0.0.0/8", 0, 0, Accept)} },
		"local preference is 0":               func(p *Peer) { p.Attributes.LocalPreference = new(uint32) },
		"peer good has the same address":      func(p *Peer) { p.Address = netip.MustParseAddr("10.0.0.253") },
		"timer 18h12m16s: want whole seconds": func(p *Peer) { p.Timers.Hold = 65536 * time.Second },
	} {
		bad := valid
		change(&bad)
		good := Peer{Name: "good", Address: netip.MustParseAddr("10.0.0.253"), ASN: 64512, Families: []Family{IPv4}}
		c := Config{ASN: 64513, RouterID: netip.MustParseAddr("10.0.0.1"), Peers: []Peer{good, bad}}
		peers, err := c.ValidPeers()
		check(t, want, err, want)
		if count := len(peers); want == "" && count != 2 || want != "" && count != 1 {
			t.Errorf("%s: %d peers are valid", want, count)
		}
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: error is %v, want %q", what, err, want)
	}
}
