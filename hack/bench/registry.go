package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
)

// Providers are entries of a real ZooKeeper, each with an address of its own: of one range everybody answers a heartbeat, of the
// other nobody does, as of pods that nobody announces.
const (
	answering   = "10.244.0.0/16"
	silent      = "10.245.0.0/16"
	providersAt = "127.0.0.1"
	dials       = 200
	perService  = 40

	registryTook     = time.Minute
	registryResident = 100e6 // bytes
)

// checked is one run of the check.
type checked struct {
	took     time.Duration
	cpu      time.Duration
	resident int // bytes, at most
}

// benchRegistry measures a check of n providers that answer, and of n that do not.
func benchRegistry(out io.Writer, n int) ([]measure.Verdict, error) {
	if n == 0 {
		return nil, nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\nwaymark check dubbo, %d providers at as many addresses, %d dials at a time\n", n, dials)
	fmt.Fprintln(w, "providers\ttime\tCPU time\tmost memory")
	var verdicts []measure.Verdict
	for _, of := range []struct{ what, network string }{{"answer", answering}, {"are silent", silent}} {
		measure.Progress("a registry of %d providers that %s", n, of.what)
		var c checked
		if err := measure.In(func(s *measure.Scope) { c = checkRegistry(s, n, of.network) }); err != nil {
			return nil, fmt.Errorf("%d providers that %s: %w", n, of.what, err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", of.what, measure.Seconds(c.took), measure.Seconds(c.cpu), measure.Megabytes(c.resident))
		verdicts = append(verdicts,
			measure.AtMost(fmt.Sprintf("%d providers checked that %s", n, of.what), c.took, registryTook, measure.Seconds),
			measure.AtMost("memory for it", c.resident, registryResident, measure.Megabytes))
	}
	return verdicts, w.Flush()
}

func checkRegistry(s *measure.Scope, n int, network string) checked {
	zookeepertest.Start(s, nettest.Self, providersAt, "")
	pods := nettest.New(s, "pods")
	nettest.Join(s, nettest.Self, "pods", []string{"198.18.0.1/30"}, pods, "eth0", []string{"198.18.0.2/30"})
	nettest.Run(s, "ip", "route", "add", silent, "via", "198.18.0.2")
	s.Cleanup(func() { _, _ = nettest.Self.Try("ip", "route", "del", silent) }) // gone with the cable, or not
	pods.IP(s, "route add blackhole "+silent)
	nettest.Run(s, "ip", "route", "add", "local", answering, "dev", "lo")
	s.Cleanup(func() { nettest.Run(s, "ip", "route", "del", "local", answering, "dev", "lo") })
	listenDubbo(s)
	registerProviders(s, n, network)

	begin := time.Now()
	cmd := exec.Command("bin/waymark", "check", "dubbo", "--offline", "--registry", "zookeeper://"+providersAt, "--dials", fmt.Sprint(dials))
	text, err := cmd.CombinedOutput()
	took := time.Since(begin)
	want := map[string]int{answering: 0, silent: n}[network]
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 2) ||
		!strings.HasPrefix(string(text), fmt.Sprintf("%d providers at %d addresses, %d findings", n, n, want)) {
		s.Fatalf("waymark check dubbo: %v: %.500s", err, text)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return checked{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), int(usage.Maxrss) << 10}
}

// listenDubbo answers heartbeats at all addresses of this host.
func listenDubbo(s *measure.Scope) {
	l, err := net.Listen("tcp", ":20880")
	s.Check(err, "listen")
	s.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				frame := make([]byte, 17)
				if _, err := io.ReadFull(conn, frame); err == nil {
					frame[2], frame[3] = 0x22, 20
					_, _ = conn.Write(frame)
				}
			}()
		}
	}()
}

// registerProviders writes what Dubbo 2 does, as long as it usually is.
func registerProviders(s *measure.Scope, n int, network string) {
	c, _, err := zk.Connect([]string{providersAt}, 30*time.Second, zk.WithLogInfo(false))
	s.Check(err, "connect to ZooKeeper")
	s.Cleanup(c.Close)
	base := strings.TrimSuffix(network, "0.0/16")
	create := func(batch []any) {
		_, err := c.Multi(batch...)
		s.Check(err, "register")
	}
	node := func(path string) any { return &zk.CreateRequest{Path: path, Acl: zk.WorldACL(zk.PermAll)} }
	create([]any{node("/dubbo")})
	for i := 0; i < n; i += perService {
		service := fmt.Sprintf("com.example.shop.api.Service%05d", i/perService)
		batch := []any{node("/dubbo/" + service), node("/dubbo/" + service + "/providers")}
		for j := i; j < min(i+perService, n); j++ {
			entry := fmt.Sprintf("dubbo://%s%d.%d:20880/%s?anyhost=true&application=shop-provider&background=false&deprecated=false&dubbo=2.0.2&dynamic=true"+
				"&generic=false&group=blue&interface=%s&metadata-type=remote&methods=create,read,update,delete,list,count,find&pid=1&prefer.serialization=fastjson2,hessian2"+
				"&release=3.2.0&revision=1.4.2&service-name-mapping=true&side=provider&timestamp=1700000000000&version=1.0.0", base, j/250, j%250+1, service, service)
			batch = append(batch, node("/dubbo/"+service+"/providers/"+url.QueryEscape(entry)))
		}
		create(batch)
	}
}
