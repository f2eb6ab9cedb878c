package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/dial"
	"github.com/waymark-bgp/waymark/registry/nacos"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

// registryAuthFile names a file in place of --auth-file.
const registryAuthFile = "WAYMARK_REGISTRY_AUTH_FILE"

func checkDubboCommand() *cobra.Command {
	var from facts
	var options registryOptions
	var survey surveyOptions
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "dubbo --registry zookeeper://HOST:PORT[,HOST:PORT]/ROOT ...",
		Short: "Whether consumers reach what Dubbo providers have registered, and where it breaks if not",
		Long: `Whether consumers reach what Dubbo providers have registered, and where it breaks if not. To be run where consumers are.

It reads every provider of the registries, of Dubbo 2 by interface and of Dubbo 3 by application, and connects to each address
once, by the protocol that is registered: a heartbeat for dubbo, SETTINGS and PING for tri and grpc, OPTIONS for rest; of one
with ssl-enabled=true an open port will do. No service is called, and nothing is written. Each address is judged by what the
cluster says of it: whose it is, whether the node announces it, at which peers.

Registries: zookeeper://HOST:PORT[,HOST:PORT...][/CHROOT][?group=GROUP&rootPath=/PATH], zookeeper+tls:// for TLS;
nacos://HOST:PORT[?namespace=ID&group=GROUP] and nacos+tls:// for Nacos 2. User and password are the one line
USER:PASSWORD of --auth-file, else of the file that $` + registryAuthFile + ` names.

Exit status: 0 all are reached and nothing is odd, 2 findings, 1 a registry or the cluster could not be read, or not all of it.`,
		Example: `  waymark check dubbo --registry zookeeper://10.132.7.20:2181,10.132.7.21:2181
  waymark check dubbo --registry zookeeper+tls://zk.example.com:2281/prod --auth-file zk.txt --tls-ca ca.pem -o junit

  # without a cluster, or with one that cannot be asked from here
  waymark check dubbo --registry zookeeper://10.132.7.20:2181 --offline
  kubectl get nodes,pods,services,noderoutingstates,bgpconfigurations,datacenternetworks -A -o yaml > cluster.yaml
  waymark check dubbo --registry zookeeper://10.132.7.20:2181 --from cluster.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sources, err := options.sources()
			if err != nil {
				return err
			}
			if err := survey.validate(); err != nil {
				return err
			}
			if !slices.Contains([]string{"text", "json", "junit"}, output) {
				return fmt.Errorf("-o %s: want text, json or junit", output)
			}
			report, unread := checkDubbo(cmd, sources, &from, &survey)
			report.all = all
			if report.Endpoints == nil {
				return unread
			}
			if err := report.write(cmd.OutOrStdout(), output); err != nil {
				return err
			}
			if unread != nil {
				return unread
			}
			if report.Findings > 0 {
				return errFound
			}
			return nil
		},
	}
	options.flags(cmd)
	from.flags(cmd)
	survey.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`format` to print: text, json or junit")
	cmd.Flags().BoolVar(&all, "all", false, "print all addresses, good ones too")
	return cmd
}

// checkDubbo reads, asks the cluster, dials and judges, in this order: a pod that came meanwhile is known. With an error the
// report may still have what could be read.
func checkDubbo(cmd *cobra.Command, sources []registry.Source, from *facts, options *surveyOptions) (dubboReport, error) {
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.end()
	reading, cancel := context.WithTimeoutCause(cmd.Context(), options.reading, fmt.Errorf("not all read in %s, the --reading-timeout", options.reading))
	entries, unread := registry.Read(reading, sources, func(n int) { bar.show("%d entries read", n) })
	cancel()
	if unread != nil && len(entries.Providers)+len(entries.Bad) == 0 {
		return dubboReport{}, unread
	}
	bar.show("%d entries read, asking the cluster", len(entries.Providers)+len(entries.Bad))
	cluster, notes, err := from.read(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return dubboReport{}, err
	}
	survey, done := options.survey()
	defer done()
	targets := registry.Targets(cluster, entries.Providers)
	survey.Progress = func(n int) { bar.show("%d of %d addresses dialled", n, len(targets)) }
	answers := survey.Run(cmd.Context(), targets)
	if err := cmd.Context().Err(); err != nil {
		return dubboReport{}, err
	}
	return newDubboReport(entries, registry.Judge(cluster, entries.Providers, answers), notes), unread
}

// registryOptions say which registries are read and how.
type registryOptions struct {
	registries          []string
	authFile            string
	ca, cert, key, name string
	timeout             time.Duration
}

func (o *registryOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.registries, "registry", nil, "`URL` of a registry; may be repeated")
	f.StringVar(&o.authFile, "auth-file", "", "`file` with USER:PASSWORD for the registries; default: $"+registryAuthFile)
	o.flagsTLS(cmd)
	f.DurationVar(&o.timeout, "registry-timeout", 10*time.Second, "for each connection to a registry, and each of its answers")
	_ = cmd.MarkFlagRequired("registry") // the flag is there
}

func (o *registryOptions) flagsTLS(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.ca, "tls-ca", "", "`file` with the certificates, in PEM, that the registries' are signed with; turns on TLS")
	f.StringVar(&o.cert, "tls-cert", "", "`file` with our certificate in PEM; turns on TLS")
	f.StringVar(&o.key, "tls-key", "", "`file` with its key in PEM")
	f.StringVar(&o.name, "tls-server-name", "", "`name` in the registries' certificates, if it is not the host they are reached at")
}

func (o *registryOptions) sources() ([]registry.Source, error) {
	if o.timeout <= 0 {
		return nil, errors.New("--registry-timeout: want more than 0")
	}
	auth, err := o.auth()
	if err != nil {
		return nil, err
	}
	secure, err := o.tls()
	if err != nil {
		return nil, err
	}
	var sources []registry.Source
	for i, text := range o.registries {
		if slices.Contains(o.registries[:i], text) {
			continue // whoever is registered is so once
		}
		switch scheme, _, _ := strings.Cut(text, "://"); scheme {
		case "zookeeper", "zookeeper+tls":
			r, err := zookeeper.Parse(text)
			if err != nil {
				return nil, err
			}
			r.Auth, r.Timeout = auth, o.timeout
			if secure != nil {
				r.TLS = secure
			}
			sources = append(sources, r)
		case "nacos", "nacos+tls":
			r, err := nacos.Parse(text)
			if err != nil {
				return nil, err
			}
			r.Auth, r.Timeout = auth, o.timeout
			if secure != nil {
				r.TLS = secure
			}
			sources = append(sources, r)
		default:
			wrong := "" // without a scheme it may be USER:PASSWORD@HOST
			if scheme != text {
				wrong = fmt.Sprintf(", not %q", scheme)
			}
			return nil, errors.New("--registry: want zookeeper://HOST:PORT, zookeeper+tls://HOST:PORT or nacos://HOST:PORT" + wrong)
		}
	}
	return sources, nil
}

func (o *registryOptions) auth() (registry.Secret, error) {
	name := cmp.Or(o.authFile, os.Getenv(registryAuthFile))
	if name == "" {
		return registry.Secret{}, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return registry.Secret{}, fmt.Errorf("user and password of the registries: %w", err)
	}
	line := strings.TrimRight(string(text), "\r\n")
	if user, password, ok := strings.Cut(line, ":"); !ok || user == "" || password == "" || strings.ContainsAny(line, "\r\n") {
		return registry.Secret{}, fmt.Errorf("%s: want one line, USER:PASSWORD", name)
	}
	return registry.NewSecret(line), nil
}

// tls is nil if no flag asks for it.
func (o *registryOptions) tls() (*tls.Config, error) {
	if o.ca == "" && o.cert == "" && o.key == "" && o.name == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.name}
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--tls-ca: %s has no certificate in PEM", o.ca)
		}
	}
	if o.cert != "" || o.key != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// surveyOptions say how addresses are dialled.
type surveyOptions struct {
	dials            int
	timeout, reading time.Duration
}

func (o *surveyOptions) flags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.dials, "dials", 200, "`number` of addresses that are dialled at a time")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 3*time.Second, "for each connection to a provider, and for its answer; shorter where nobody answers")
	cmd.Flags().DurationVar(&o.reading, "reading-timeout", time.Minute, "for reading the registries")
}

func (o *surveyOptions) validate() error {
	switch {
	case o.dials < 1 || o.dials > 10_000:
		return errors.New("--dials: want a number from 1 to 10000")
	case o.timeout <= 0 || o.reading <= 0:
		return errors.New("--timeout and --reading-timeout: want more than 0")
	}
	return nil
}

// survey is from here. Without the right to listen to ICMP errors it knows less of why something is not reached.
func (o *surveyOptions) survey() (survey registry.Survey, done func()) {
	here := dial.Dialer{Connect: (&net.Dialer{KeepAlive: -1, Control: dial.NotHere}).DialContext}
	done = func() {}
	survey = registry.Survey{Dials: o.dials, Timeout: o.timeout}
	if listener, err := dial.Listen(); err == nil {
		here.Listener, done = listener, listener.Close
		survey.Tracer = dial.Tracer{Listener: listener}
	}
	survey.Dialer = here
	return survey, done
}

// progress is a line that is written over and over, on a terminal only.
type progress struct {
	out  io.Writer // nil: no terminal
	last time.Time
}

const progressEvery = 100 * time.Millisecond

func newProgress(out io.Writer) *progress {
	p := &progress{}
	if f, ok := out.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			p.out = out
		}
	}
	return p
}

func (p *progress) show(format string, args ...any) {
	if p.out != nil && time.Since(p.last) >= progressEvery {
		p.last = time.Now()
		fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
	}
}

func (p *progress) end() {
	if p.out != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
