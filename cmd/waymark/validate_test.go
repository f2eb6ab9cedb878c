package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	const (
		good   = "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: rr1}\nspec: {address: 10.132.2.254, asn: 64512}\n"
		same   = "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: rr2}\nspec: {address: 10.132.2.254, asn: 64512}\n"
		policy = "apiVersion: waymark.io/v1alpha1\nkind: EgressPolicy\nmetadata: {name: bank}\nspec: {source: Gateway, gateway: {pool: egress}}\n"
		other  = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"
	)
	for name, tt := range map[string]struct {
		files map[string]string
		want  string // what is printed, where DIR is the directory
		found bool
	}{
		"good": {map[string]string{"a.yaml": good, ".hidden.yaml": "{", "README.md": "{"}, "good objects: 1, findings: 0", false},
		"of others": {map[string]string{"a.yaml": good + "---\n" + other},
			"good objects: 1, findings: 0; ignored, because they are not read by Waymark: 1", false},
		"unknown field": {map[string]string{"a.yml": strings.Replace(good, "asn", "asnn: 1, asn", 1)},
			"DIR/a.yml:4: BGPPeer/rr1: Invalid: unknown field spec.asnn: did you mean asn?\ngood objects: 0, findings: 1", true},
		"bad value": {map[string]string{"a.json": `{"apiVersion": "waymark.io/v1alpha1", "kind": "BGPPeer", "metadata": {"name": "rr1"}, "spec": {"address": "x", "asn": 1}}`},
			"DIR/a.json:1: BGPPeer/rr1: Invalid: spec.address: Invalid value: \"x\": is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1\n" +
				"good objects: 0, findings: 1", true},
		"in two files": {map[string]string{"a.yaml": good, "b.yaml": good},
			"DIR/b.yaml:1: BGPPeer/rr1: Duplicate: is also in DIR/a.yaml:1, which is the one in force\ngood objects: 1, findings: 1", true},
		"beside each other": {map[string]string{"a.yaml": good + "---\n" + same + node(1, "labels: {}"), "b.yaml": policy},
			"DIR/a.yaml:6: BGPPeer/rr2: Duplicate: on Node node-1 BGPPeer rr1 has the same address 10.132.2.254: one of the two is ignored there\n" +
				"DIR/b.yaml:1: EgressPolicy/bank: MissingPool: spec.gateway.pool: there is no AddressPool egress\ngood objects: 4, findings: 2", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := run(t, "", "validate", "-f", dir)
			if errors.Is(err, errFound) != tt.found || !tt.found && err != nil {
				t.Errorf("ends with %v", err)
			}
			if got := strings.TrimSpace(strings.ReplaceAll(out, dir, "DIR")); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
	if out, err := run(t, strings.Replace(good, "64512", "0", 1), "validate", "-f", "-"); !errors.Is(err, errFound) || !strings.HasPrefix(out, "stdin:4: BGPPeer/rr1: Invalid: spec.asn") {
		t.Errorf("from standard input: %v\n%s", err, out)
	}
	for args, want := range map[string]string{
		"-f /nowhere.yaml": "no such file or directory", "": "-f is missing", "-f " + t.TempDir(): "has no *.yaml",
	} {
		if _, err := run(t, "", append([]string{"validate"}, strings.Fields(args)...)...); err == nil || errors.Is(err, errFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", args, err, want)
		}
	}
}
