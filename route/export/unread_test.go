package export

import (
	"strings"
	"testing"
)

// TestUnread: what begins like a static route and is none is told with its line and with what is odd; what only looks like one is
// passed over.
func TestUnread(t *testing.T) {
	for _, tt := range []struct{ dialect, line, want string }{
		{"cisco-ios", "ip route 10.131.256.0 255.255.255.0 10.132.2.22", `"10.131.256.0" is no network`},
		{"cisco-ios", "ip route 10.131.10.0 255.0.255.0 10.132.2.22", "mask 255.0.255.0 has ones after a zero"},
		{"cisco-ios", "ip route 10.131.10.0 0.0.0.255 10.132.2.22", "mask 0.0.0.255 has ones after a zero"},
		{"cisco-ios", "ip route 10.131.10.0 255.255.255.0", "it has no next hop"},
		{"cisco-ios", "ip route 10.131.10.0", `"" is neither a mask nor a length`},
		{"cisco-ios", "ip route", "it ends before the prefix"},
		{"cisco-ios", "ip route vrf prod", "it ends before the prefix"},
		{"cisco-ios", "ip route 10.131.10.0 255.255.255.0 10.132.2.256", `next hop "10.132.2.256" is no address`},
		{"cisco-ios", "ip route 10.131.10.0 255.255.255.0 10.132.2.22 tag x", `number "x" cannot be read`},
		{"cisco-ios", "ipv6 route fd00:131::/129 fd00:132::1", `"fd00:131::/129" is no prefix`},
		{"cisco-ios", "ipv6 route fd00:131::/64 fd00:132:::1", `next hop "fd00:132:::1" is no address`},
		{"cisco-ios", "ip route static bfd GigabitEthernet0/0 10.132.2.22", ""},
		{"cisco-ios", "ip router isis", ""},
		{"cisco-ios", "no ip route 10.131.300.0 255.255.255.0", ""},
		{"cisco-iosxr", "router static address-family ipv4 unicast 10.131.10.0/33 10.132.2.22", `"10.131.10.0/33" is no prefix`},
		{"cisco-iosxr", "router static address-family ipv4 multicast 10.131.10.0/33 10.132.2.22", ""},
		{"cisco-nxos", "ip route 10.131.10.0/24 name x", "it has no next hop"},
		{"arista-eos", "ip route 10.131.10.0/ 10.132.2.22", `"10.131.10.0/" is no prefix`},
		{"huawei-vrp", "ip route-static 10.131.10.0 33 10.132.2.22", "10.131.10.0 has no prefix of length 33"},
		{"huawei-vrp", "ip route-static 10.131.1O.0 24 10.132.2.22", `"10.131.1O.0" is no network`},
		{"huawei-vrp", "ip route-static default-preference x", ""},
		{"h3c-comware", "ip route-static 10.131.10.0 24 10.132.2.22 track uplink", `number "uplink" cannot be read`},
		{"juniper-junos", "set routing-options static route 10.131.10/24 next-hop 10.132.2.22", `"10.131.10/24" is no prefix`},
		{"juniper-junos", "set routing-options static route 10.131.10.0/24 next-hop 10.132.2", `next hop "10.132.2" is no address`},
		{"juniper-junos", "set routing-options static route 10.131.10.0/24 tag 7", "it has no next hop"},
		{"juniper-junos", "routing-options { static { route 10.131.10.0/24 { next-hop; } } }", "it has no next hop"},
		{"juniper-junos", "set groups g routing-options static route 10.131.10/24 discard", ""},
		{"mikrotik", "/ip route add dst-address=10.131.10.0.0/24 gateway=10.132.2.22", `"10.131.10.0.0/24" is no prefix`},
		{"mikrotik", "/ip route add dst-address=10.131.10.0/24 gateway=10.132.2.300@prod", `gateway "10.132.2.300@prod" is no address`},
		{"mikrotik", "/ip route add dst-address=10.131.10.0/24", "it has no next hop"},
		{"mikrotik", "/ip route rule add dst-address=10.131.10.0.0/24", ""},
		{"vyos", "set protocols static route 10.131.10.0/24 next-hop 10.132.2.x", `next hop "10.132.2.x" is no address`},
		{"vyos", "set protocols static route 10.131.10.0/24 description 'node-b'", "it has no next hop"},
		{"cisco-ios", "ip route 10.131.10.0 255.255.255.0 Tunnel0;reload", "its next hop has characters that the name of no interface has"},
		{"mikrotik", `/ip route add dst-address=10.131.10.0/24 gateway="10.132.2.22,x\"; /system reboot"`, "its next hop has characters"},
		{"linux", "10.131.10.0/24 dev $(reboot) proto static", "its next hop has characters"},
		{"vyos", "set protocols static table 10 route x next-hop y", ""},
		{"frr", "ip route 10.131.10.0/24 10.132.2.22 300000000000000000000", `number "300000000000000000000" cannot be read`},
		{"bird", "protocol static { ipv4; route 10.131.10.0/24 via 10.132.2.22 }", "it has no semicolon at its end"},
		{"bird", "protocol static { ipv4; route 10.131.10.0/24; }", "it has no next hop"},
		{"bird", "protocol static { ipv4; route 10.131.10/24 via 10.132.2.22; }", `"10.131.10/24" is no prefix`},
		{"bird", "filter f { route 10.131.10/24 via 10.132.2.22; }", ""},
		{"linux", "10.131.10.0/24 via 10.132.2.2222 dev eth0", `next hop "10.132.2.2222" is no address`},
		{"linux", "route replace 10.131.10.0/24 via", "it has no next hop"},
		{"linux", "route replace 10.131.10.0/24 via 10.132.2.22 metric", `number "" cannot be read`},
		{"linux", "10.131.10.0/24 dev eth0 proto bird metric x", ""},
		{"linux", "local 10.131.10.300 dev eth0", ""},
		{"openbsd", "route add 10.131.10.0/40 10.132.2.22", `destination "10.131.10.0/40" is no prefix`},
		{"openbsd", "!route add -inet", "it ends before the destination"},
		{"openbsd", "route delete 10.131.10.0/40", ""},
		{"json", `[{"prefix": "10.131.10.0/24"}]`, "it has no next hop"},
		{"json", `[{"nextHop": "10.132.2.22"}]`, "it has no prefix"},
		{"csv", "prefix,nextHop\n10.131.10.0,10.132.2.22", `prefix "10.131.10.0" cannot be read`},
	} {
		found, unread, err := Parse(tt.dialect, "\n\n"+tt.line)
		if tt.dialect == "csv" || tt.dialect == "json" {
			found, unread, err = Parse(tt.dialect, tt.line)
		}
		if err != nil || len(found) > 0 || len(unread) > 1 || (tt.want == "") != (len(unread) == 0) {
			t.Errorf("%s: %q: %+v, %+v, %v", tt.dialect, tt.line, found, unread, err)
			continue
		}
		for _, u := range unread {
			if !strings.Contains(u.Reason, tt.want) || !strings.Contains(tt.line, u.Text) || u.Line != 3 && tt.dialect != "json" && tt.dialect != "csv" {
				t.Errorf("%s: %q: line %d: %s (%q); want %s", tt.dialect, tt.line, u.Line, u.Reason, u.Text, tt.want)
			}
		}
	}
}

// TestNoConfiguration: a text that is in another form altogether is an error, lest a router seem empty.
func TestNoConfiguration(t *testing.T) {
	for _, tt := range []struct{ dialect, text, want string }{
		{"cisco", "", `there is no dialect "cisco"`},
		{"cisco-ios", "\xff\xfei\x00p\x00", "UTF-16"},
		{"json", `{"prefix": "10.131.10.0/24"}`, "it is no JSON list"},
		{"json", "[\n{\"prefix\": \"10.131.10.0/24\", \"nextHop\": \"10.132.2.22\"},\n{", "after line 2"},
		{"json", "[", "the list has no end"},
		{"csv", "", "the line with the columns' names"},
		{"csv", "10.131.10.0/24,10.132.2.22", "does not name the columns prefix and nextHop"},
	} {
		if found, _, err := Parse(tt.dialect, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q: %v, %v; want %s", tt.dialect, tt.text, found, err, tt.want)
		}
	}
	// A byte order mark, which spreadsheets write, is none.
	found, _, err := Parse("csv", "\ufeffprefix,nextHop\r\n10.131.10.0/24,10.132.2.22\r\n")
	if err != nil || len(found) != 1 {
		t.Errorf("after a byte order mark: %v, %v", found, err)
	}
}
