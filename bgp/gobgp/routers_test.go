package gobgp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// router is a daemon that the speaker talks to.
type router interface {
	// route returns the best route that the router has from the speaker; nil if there is none.
	route(prefix string) (*route, error)
}

type route struct {
	NextHop, ASPath    string
	MED, LocalPref     int
	Communities, Large []string
}

// routerConfig says how a router is to be configured.
type routerConfig struct {
	ASN        uint32 // of the router; 0: 64512
	RouterID   string // "": 192.0.2.254
	Address    string // of the router
	Neighbor   string // the speaker
	NeighborAS uint32 // 0: 64513
	Password   string
	MaxPrefix  int
	Multihop   bool // eBGP over more than one hop
	Security   bool // TTL security, one hop
	Passive    bool
	Restart    bool // graceful restart
	OnlyV4     bool // no IPv6; GoBGP only
	Announce   []string
}

// V4 and V6 are the announced prefixes of a family.
func (c routerConfig) V4() []string { return c.family(true) }

// V6 is the other one.
func (c routerConfig) V6() []string { return c.family(false) }

func (c routerConfig) family(v4 bool) []string {
	var list []string
	for _, p := range c.Announce {
		if netip.MustParsePrefix(p).Addr().Is4() == v4 {
			list = append(list, p)
		}
	}
	return list
}

func (c routerConfig) fill(t testing.TB, text string) string {
	t.Helper()
	if c.ASN == 0 {
		c.ASN = 64512
	}
	if c.NeighborAS == 0 {
		c.NeighborAS = 64513
	}
	if c.RouterID == "" {
		c.RouterID = "192.0.2.254"
	}
	var b strings.Builder
	if err := template.Must(template.New("").Parse(text)).Execute(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// routers start each daemon in a namespace.
var routers = []struct {
	name  string
	start func(t testing.TB, ns nettest.NS, c routerConfig) router
}{
	{"FRR", startFRR},
	{"BIRD", startBIRD},
	{"OpenBGPD", startOpenBGPD},
	{"GoBGP", startGoBGP},
}

type frr struct{ *nettest.FRR }

func startFRR(t testing.TB, ns nettest.NS, c routerConfig) router {
	t.Helper()
	return frr{nettest.StartFRR(t, ns, false, c.fill(t, `
router bgp {{.ASN}}
 bgp router-id {{.RouterID}}
 no bgp ebgp-requires-policy
 no bgp network import-check
 {{if .Restart}}bgp graceful-restart{{end}}
 neighbor {{.Neighbor}} remote-as {{.NeighborAS}}
 neighbor {{.Neighbor}} timers connect 1
 neighbor {{.Neighbor}} advertisement-interval 0
 {{if .Password}}neighbor {{.Neighbor}} password {{.Password}}{{end}}
 {{if .Multihop}}neighbor {{.Neighbor}} ebgp-multihop{{end}}
 {{if .Security}}neighbor {{.Neighbor}} ttl-security hops 1{{end}}
 {{if .Passive}}neighbor {{.Neighbor}} passive{{end}}
 address-family ipv4 unicast
  neighbor {{.Neighbor}} activate
  neighbor {{.Neighbor}} soft-reconfiguration inbound
  {{if .MaxPrefix}}neighbor {{.Neighbor}} maximum-prefix {{.MaxPrefix}}{{end}}
{{range .V4}}  network {{.}}
{{end}} exit-address-family
 address-family ipv6 unicast
  neighbor {{.Neighbor}} activate
{{range .V6}}  network {{.}}
{{end}} exit-address-family
exit
`))}
}

func (r frr) route(prefix string) (*route, error) {
	var entry struct {
		Paths []struct {
			ASPath struct{ String string }
			Peer   struct{ PeerID string }

			Metric, LocPrf int
			Community      struct{ List []string }
			LargeCommunity struct{ List []string }
			Nexthops       []struct{ IP, Scope string }
		}
	}
	if err := r.JSON(fmt.Sprintf("show bgp %s unicast %s json", familyOf(prefix), prefix), &entry); err != nil {
		return nil, err
	}
	for _, p := range entry.Paths {
		if p.Peer.PeerID == "(unspec)" { // its own
			continue
		}
		return &route{p.Nexthops[0].IP, p.ASPath.String, p.Metric, p.LocPrf, p.Community.List, p.LargeCommunity.List}, nil
	}
	return nil, nil
}

func familyOf(prefix string) string {
	if strings.Contains(prefix, ":") {
		return "ipv6"
	}
	return "ipv4"
}

type bird struct{ *nettest.BIRD }

func startBIRD(t testing.TB, ns nettest.NS, c routerConfig) router {
	t.Helper()
	return bird{nettest.StartBIRD(t, ns, c.fill(t, `
router id {{.RouterID}};
protocol device {}
protocol static { ipv4; {{range .V4}} route {{.}} blackhole; {{end}} }
protocol static { ipv6; {{range .V6}} route {{.}} blackhole; {{end}} }
protocol bgp speaker {
	local {{.Address}} as {{.ASN}};
	neighbor {{.Neighbor}} as {{.NeighborAS}};
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	graceful restart {{if .Restart}}on{{else}}off{{end}};
	{{if .Password}}password "{{.Password}}";{{end}}
	{{if .Multihop}}multihop;{{end}}
	{{if .Security}}ttl security on;{{end}}
	{{if .Passive}}passive on;{{end}}
	ipv4 { import all; export where source = RTS_STATIC; {{if .MaxPrefix}}import limit {{.MaxPrefix}} action disable;{{end}} };
	ipv6 { import all; export where source = RTS_STATIC; };
}
`))}
}

var birdAttribute = regexp.MustCompile(`(?m)^\tBGP\.(\w+): (.*)$`)

func (r bird) route(prefix string) (*route, error) {
	out, err := r.Birdc("show route all primary protocol speaker for " + prefix)
	if err != nil || !strings.Contains(out, prefix) {
		if strings.Contains(out, "Network not found") {
			return nil, nil
		}
		return nil, err
	}
	var found route
	for _, m := range birdAttribute.FindAllStringSubmatch(out, -1) {
		switch value := strings.TrimSpace(m[2]); m[1] {
		case "next_hop":
			found.NextHop = strings.Fields(value)[0]
		case "as_path":
			found.ASPath = value
		case "med":
			fmt.Sscan(value, &found.MED)
		case "local_pref":
			fmt.Sscan(value, &found.LocalPref)
		case "community":
			found.Communities = birdList(value)
		case "large_community":
			found.Large = birdList(value)
		}
	}
	return &found, nil
}

func birdList(value string) []string {
	var list []string
	for _, v := range strings.Split(strings.Trim(value, "()"), ") (") {
		list = append(list, strings.NewReplacer(",", ":", " ", "").Replace(v))
	}
	return list
}

type openBGPD struct{ *nettest.OpenBGPD }

func startOpenBGPD(t testing.TB, ns nettest.NS, c routerConfig) router {
	t.Helper()
	return openBGPD{nettest.StartOpenBGPD(t, ns, c.fill(t, `
AS {{.ASN}}
router-id {{.RouterID}}
fib-update no
connect-retry 1
{{range .V4}}network {{.}}
{{end}}{{range .V6}}network {{.}}
{{end}}
neighbor {{.Neighbor}} {
	remote-as {{.NeighborAS}}
	local-address {{.Address}}
	announce IPv4 unicast
	announce IPv6 unicast
	announce restart {{if .Restart}}yes{{else}}no{{end}}
	{{if .Password}}tcp md5sig password {{.Password}}{{end}}
	{{if .Multihop}}multihop 8{{end}}
	{{if .Security}}ttl-security yes{{end}}
	{{if .Passive}}passive{{end}}
	{{if .MaxPrefix}}max-prefix {{.MaxPrefix}}{{end}}
}
allow from any
allow to any
`))}
}

func (r openBGPD) route(prefix string) (*route, error) {
	var rib struct {
		RIB []struct {
			ASPath           string `json:"aspath"`
			ExitNexthop      string `json:"exit_nexthop"`
			Source           string
			Metric           int
			LocalPref        int
			Communities      []string
			LargeCommunities []string `json:"large_communities"`
			Announced        bool
		}
	}
	if err := r.JSON(&rib, "show", "rib", "detail", prefix); err != nil {
		return nil, err
	}
	for _, p := range rib.RIB {
		if !p.Announced {
			return &route{p.ExitNexthop, p.ASPath, p.Metric, p.LocalPref, p.Communities, p.LargeCommunities}, nil
		}
	}
	return nil, nil
}

type goBGP struct {
	*nettest.Process

	client api.GoBgpServiceClient
}

func startGoBGP(t testing.TB, ns nettest.NS, c routerConfig) router {
	t.Helper()
	dir := t.TempDir()
	text := c.fill(t, `
[global.config]
  as = {{.ASN}}
  router-id = "{{.RouterID}}"
[[neighbors]]
  [neighbors.config]
    peer-as = {{.NeighborAS}}
    neighbor-address = "{{.Neighbor}}"
    auth-password = "{{.Password}}"
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
  [neighbors.transport.config]
    passive-mode = {{.Passive}}
  {{if .Multihop}}[neighbors.ebgp-multihop.config]
    enabled = true{{end}}
  {{if .Security}}[neighbors.ttl-security.config]
    enabled = true{{end}}
  [neighbors.graceful-restart.config]
    enabled = {{.Restart}}
    restart-time = 60
  {{range $family := .Families}}[[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "{{.}}-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = {{$.Restart}}
    {{if $.MaxPrefix}}[neighbors.afi-safis.prefix-limit.config]
      max-prefixes = {{$.MaxPrefix}}{{end}}
  {{end}}
`)
	if err := os.WriteFile(filepath.Join(dir, "gobgpd.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := goBGP{Process: ns.Start(t, "env", asGoBGP+"="+dir, executable(t))}
	connection, err := grpc.NewClient("unix://"+filepath.Join(dir, "sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	r.client = api.NewGoBgpServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, p := range c.Announce {
		prefix := netip.MustParsePrefix(p)
		nlri := &api.NLRI{Nlri: &api.NLRI_Prefix{Prefix: &api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())}}}
		family := &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
		next := &api.Attribute{Attr: &api.Attribute_NextHop{NextHop: &api.NextHopAttribute{NextHop: c.Address}}}
		if prefix.Addr().Is6() {
			family.Afi = api.Family_AFI_IP6
			next = &api.Attribute{Attr: &api.Attribute_MpReach{MpReach: &api.MpReachNLRIAttribute{
				Family: family, NextHops: []string{"2001:db8::2"}, Nlris: []*api.NLRI{nlri}}}}
		}
		_, err := r.client.AddPath(ctx, &api.AddPathRequest{Path: &api.Path{
			Family: family, Nlri: nlri,
			Pattrs: []*api.Attribute{{Attr: &api.Attribute_Origin{Origin: &api.OriginAttribute{}}}, next},
		}}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func executable(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Families of a GoBGP configuration.
func (c routerConfig) Families() []string {
	if c.OnlyV4 {
		return []string{"ipv4"}
	}
	return []string{"ipv4", "ipv6"}
}

func (r goBGP) route(prefix string) (*route, error) {
	family := &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	if familyOf(prefix) == "ipv6" {
		family.Afi = api.Family_AFI_IP6
	}
	stream, err := r.client.ListPath(context.Background(), &api.ListPathRequest{
		TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family, Prefixes: []*api.TableLookupPrefix{{Prefix: prefix}},
	}, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, nil // the end: no such route
	}
	attributes, err := apiutil.GetNativePathAttributes(response.Destination.Paths[0])
	if err != nil {
		return nil, err
	}
	found := &route{}
	for _, a := range attributes {
		switch a := a.(type) {
		case *packet.PathAttributeNextHop:
			found.NextHop = a.Value.String()
		case *packet.PathAttributeMpReachNLRI:
			found.NextHop = a.Nexthop.String()
		case *packet.PathAttributeAsPath:
			for _, segment := range a.Value {
				found.ASPath = strings.Trim(fmt.Sprint(segment.GetAS()), "[]")
			}
		case *packet.PathAttributeMultiExitDisc:
			found.MED = int(a.Value)
		case *packet.PathAttributeLocalPref:
			found.LocalPref = int(a.Value)
		case *packet.PathAttributeCommunities:
			for _, c := range a.Value {
				found.Communities = append(found.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
			}
		case *packet.PathAttributeLargeCommunities:
			for _, c := range a.Values {
				found.Large = append(found.Large, c.String())
			}
		}
	}
	return found, nil
}

// wantRoute waits until the router has the route so.
func wantRoute(r router, prefix string, want route) func() error {
	return func() error {
		got, err := r.route(prefix)
		if err != nil || got == nil {
			return fmt.Errorf("%s is not at the router: %v", prefix, err)
		}
		for _, list := range [][]string{got.Communities, got.Large, want.Communities, want.Large} {
			slices.Sort(list)
		}
		if a, b := toJSON(got), toJSON(want); a != b {
			return fmt.Errorf("%s at the router:\nhave %s\nwant %s", prefix, a, b)
		}
		return nil
	}
}

// wantNoRoute waits until the router has it no more.
func wantNoRoute(r router, prefix string) func() error {
	return func() error {
		if got, err := r.route(prefix); err != nil || got != nil {
			return fmt.Errorf("%s is at the router: %v: %v", prefix, err, got)
		}
		return nil
	}
}

func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
