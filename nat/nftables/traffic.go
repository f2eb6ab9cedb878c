package nftables

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Traffic counts what crosses the node to and from its pods, in a table of its own that is there only while it counts. It is
// for one goroutine.
type Traffic struct {
	pods []netip.Prefix // whom it counts; nil: nobody
}

// The table by which Traffic counts.
const (
	trafficTable = "waymark-traffic"
	crossing     = "crossing"
)

// Packets returns how many packets pods and others than themselves have exchanged through this node since the first call
// with the same pods.
func (t *Traffic) Packets(ctx context.Context, pods []netip.Prefix) (uint64, error) {
	if !slices.Equal(t.pods, pods) {
		if err := nft(ctx, trafficRules(pods), nil, "-f", "-"); err != nil {
			return 0, fmt.Errorf("nftables: write table %s: %w", trafficTable, err)
		}
		t.pods = slices.Clone(pods)
	}
	var list struct {
		Nftables []struct {
			Counter *struct {
				Packets uint64 `json:"packets"`
			} `json:"counter"`
		} `json:"nftables"`
	}
	var out bytes.Buffer
	err := nft(ctx, "", &out, "--json", "list", "counter", "inet", trafficTable, crossing)
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &list)
	}
	if err != nil {
		t.pods = nil // somebody has removed the table: count anew
		return 0, fmt.Errorf("nftables: read table %s: %w", trafficTable, err)
	}
	for _, object := range list.Nftables {
		if object.Counter != nil {
			return object.Counter.Packets, nil
		}
	}
	return 0, fmt.Errorf("nftables: read table %s: it has no counter %s", trafficTable, crossing)
}

// Stop removes the table, one of an earlier process too.
func (t *Traffic) Stop(ctx context.Context) error {
	t.pods = nil
	if err := nft(ctx, noTraffic, nil, "-f", "-"); err != nil {
		return fmt.Errorf("nftables: delete table %s: %w", trafficTable, err)
	}
	return nil
}

const noTraffic = "add table inet " + trafficTable + "\ndelete table inet " + trafficTable + "\n"

func trafficRules(pods []netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%stable inet %s {\n\tcounter %s { }\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n",
		noTraffic, trafficTable, crossing)
	for _, word := range []string{"ip", "ip6"} {
		var list []string
		for _, pod := range pods {
			if pod.Addr().Is4() == (word == "ip") {
				list = append(list, pod.String())
			}
		}
		if len(list) == 0 {
			continue
		}
		set := "{ " + strings.Join(list, ", ") + " }"
		fmt.Fprintf(&b, "\t\t%s saddr %s %s daddr %s return\n", word, set, word, set)
		fmt.Fprintf(&b, "\t\t%s saddr %s counter name %s\n\t\t%s daddr %s counter name %s\n", word, set, crossing, word, set, crossing)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
