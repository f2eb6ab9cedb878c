package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// settings are sysctls by their files, with values as they are read.
type settings map[string]string

// sysctlNet is where all of them are. In a container it can be read there, and rarely written.
const sysctlNet = "/proc/sys/net"

// looseOn lets a tunnel bring packets whose replies leave another way (RFC 3704, section 2.4). The sysctl of all devices
// cannot make it strict again: the larger value counts.
func looseOn(device string) settings {
	return settings{"/proc/sys/net/ipv4/conf/" + device + "/rp_filter": "2"}
}

// quietOn keeps a new device from taking and from inventing addresses of IPv6, which it must have even where others have not.
func quietOn(device string) settings {
	conf := "/proc/sys/net/ipv6/conf/" + device
	if _, err := os.Stat(conf); err != nil {
		return nil // there is no IPv6, or not with so small an MTU
	}
	return settings{conf + "/disable_ipv6": "0", conf + "/addr_gen_mode": "1", conf + "/accept_ra": "0"}
}

// answering lets the owner of an address on a shared network answer for it, and at once: what is not sent to the host alone
// would be answered after a random part of proxy_delay.
func (p *pass) answering() settings {
	s := settings{}
	for owned := range p.want.proxies {
		if owned.ip.Is4() {
			s["/proc/sys/net/ipv4/neigh/"+owned.device+"/proxy_delay"] = "0"
			continue
		}
		s["/proc/sys/net/ipv6/neigh/"+owned.device+"/proxy_delay"] = "0"
		s["/proc/sys/net/ipv6/conf/"+owned.device+"/proxy_ndp"] = "1"
	}
	return s
}

func differing(want settings) settings {
	found := settings{}
	for file, value := range want {
		if have, err := read(file); err != nil || have != value {
			found[file] = value
		}
	}
	return found
}

func read(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

// sysctls changes settings, those that are not ours for a time.
type sysctls struct {
	file string // of old values
	dir  string // where sysctlNet may be written
}

func (s sysctls) write(values settings) error {
	var errs []error
	for file, value := range values {
		errs = append(errs, os.WriteFile(s.dir+strings.TrimPrefix(file, sysctlNet), []byte(value), 0o644))
	}
	return errors.Join(errs...)
}

// hold makes the settings so, and puts back what it had changed and is not among them. It says how many it has written. A
// value that is no longer what was written is somebody else's, and stays.
func (s sysctls) hold(want settings) (int, error) {
	old, err := s.load()
	if err != nil {
		return 0, err
	}
	before := maps.Clone(old)
	changes := differing(want)
	for file := range changes {
		value, err := read(file)
		if _, known := old[file]; err == nil && !known {
			old[file] = value
		}
	}
	if err := s.save(before, old); err != nil {
		return 0, err
	}
	before = maps.Clone(old)
	for file, value := range before {
		if _, held := want[file]; held {
			continue
		}
		if have, err := read(file); err == nil && have == answer(file) {
			changes[file] = value
		}
		delete(old, file)
	}
	if err := s.write(changes); err != nil {
		return len(changes), err
	}
	return len(changes), s.save(before, old)
}

// answer is the value that hold has given to a setting.
func answer(file string) string {
	if filepath.Base(file) == "proxy_ndp" {
		return "1"
	}
	return "0"
}

func (s sysctls) load() (settings, error) {
	old := settings{}
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return old, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &old)
	}
	if err != nil {
		return nil, fmt.Errorf("read the old values of sysctls from %s: %w", s.file, err)
	}
	return old, nil
}

// save writes the old values before they are overwritten, in one piece. Without any there is no file.
func (s sysctls) save(before, old settings) error {
	if maps.Equal(before, old) {
		return nil
	}
	if len(old) == 0 {
		return os.Remove(s.file)
	}
	text, err := json.Marshal(old)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(s.file+".new", s.file)
}
