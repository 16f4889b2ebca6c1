package commands

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/relay/natsdir"
)

const memoryDirectory = "memory"

// directoryOptions are the flags of a relay that is one of several.
type directoryOptions struct {
	id, servers, advertise   string
	creds, cacert, cert, key string // of NATS
	hopCACert, clientCACert  string
	trustedProxies           []string

	trusted []netip.Prefix
}

func (o *directoryOptions) flags() []cli.Flag {
	return []cli.Flag{
		usage.String(&o.id, "id", "name this relay `ID` in responses, audits and the directory (default with NATS: the host name)", ""),
		usage.String(&o.servers, "directory", "find workers of other relays with the NATS servers at `URL`, such as nats://n1,nats://n2; memory: there are no others", memoryDirectory),
		usage.Path(&o.creds, "directory-creds", "NATS credentials `PATH`"),
		usage.Path(&o.cacert, "directory-cacert", "trust the authority in `PATH` for NATS"),
		usage.Path(&o.cert, "directory-cert", "client certificate `PATH` for NATS"),
		usage.Path(&o.key, "directory-key", "private key `PATH` of --directory-cert"),
		usage.String(&o.advertise, "advertise", "be reached by the other relays at `URL`, which must not be a load balancer's (default: that of --accept)", ""),
		usage.Path(&o.hopCACert, "hop-cacert", "trust the authority in `PATH` when dialing other relays"),
		usage.Strings(&o.trustedProxies, "trusted-proxy", "believe X-Forwarded-For and Wstun-Via of load balancers and relays in `CIDR`; repeatable"),
		usage.Path(&o.clientCACert, "client-cacert", "believe Client-Cert of --trusted-proxy for client certificates of the authority in `PATH`"),
	}
}

// parse checks the flags, and adds the passwords in URLs to the secrets.
func (o *directoryOptions) parse(e *endpoint.Options, takeover string) error {
	for _, text := range o.trustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return usage.Errorf("--trusted-proxy %q: want addresses such as 10.0.3.0/24", text)
		}
		o.trusted = append(o.trusted, prefix)
	}
	if o.id != "" {
		if err := relay.CheckName(o.id); err != nil {
			return usage.Errorf("--id %q: %w", o.id, err)
		}
	}
	if o.clientCACert != "" && len(o.trusted) == 0 {
		return &usage.Error{Err: errors.New("--client-cacert without --trusted-proxy"), Advice: "give the addresses of the load balancers and relays that send Client-Cert"}
	}
	if o.servers == memoryDirectory {
		return e.Given.Reject("--directory nats://HOST", "directory-creds", "directory-cacert", "directory-cert", "directory-key", "advertise", "hop-cacert")
	}
	for server := range strings.SplitSeq(o.servers, ",") {
		u, err := url.Parse(server)
		if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" {
			return usage.Errorf("--directory %q: want memory, nats://HOST:PORT or tls://HOST:PORT", endpoint.Redact(server))
		}
		e.Secrets.AddURL(server)
	}
	if (o.cert == "") != (o.key == "") {
		return usage.Errorf("--directory-cert and --directory-key go together")
	}
	if o.advertise != "" {
		if err := relay.CheckURL(o.advertise); err != nil {
			return usage.Errorf("--advertise %q: %w", endpoint.Redact(o.advertise), err)
		}
	}
	if takeover == takeovers[1] {
		return &usage.Error{Err: errors.New("--takeover never with several relays"), Advice: "leave it out: relays know only their own workers when one arrives"}
	}
	return nil
}

// apply opens the directory, if there is one, and sets the options of the relay, which
// listens at own. The caller closes the result.
func (o *directoryOptions) apply(opts *relay.Options, e *endpoint.Options, own string, logger *slog.Logger) (func(), error) {
	opts.ID, opts.TrustedProxies = o.id, o.trusted
	if o.clientCACert != "" {
		clients, err := endpoint.NewTLS("--client-", &endpoint.TLSOptions{CACert: o.clientCACert})
		if err != nil {
			return nil, err
		}
		opts.ClientCAs = func() *x509.CertPool { return clients.Authorities(logger) }
	}
	if o.servers == memoryDirectory {
		return func() {}, nil
	}
	if opts.ID == "" {
		host, _ := os.Hostname()
		if opts.ID, _, _ = strings.Cut(strings.ToLower(host), "."); relay.CheckName(opts.ID) != nil {
			return nil, usage.Errorf("the host name %q isn't an ID: give --id", host)
		}
	}
	advertise, err := o.url(own)
	if err != nil {
		return nil, err
	}
	// Other relays that demand client certificates get the one of this relay.
	hopTLS, err := endpoint.NewTLS("--hop-", &endpoint.TLSOptions{Cert: e.TLS.Cert, Key: e.TLS.Key, CACert: o.hopCACert})
	if err != nil {
		return nil, err
	}
	directory, err := natsdir.Connect(natsdir.Options{
		Servers: o.servers, Creds: o.creds, CACert: o.cacert, Cert: o.cert, Key: o.key, ID: opts.ID, URL: advertise, Logger: logger,
	})
	if err != nil {
		return nil, usage.Errorf("--directory: %w", err)
	}
	transport := newHopTransport(func() *tls.Config { return hopTLS.Client(logger) })
	opts.Directory, opts.Hop = directory, transport
	logger.Info("other relays reach this one", slog.String("id", opts.ID), slog.String("url", advertise))
	return func() {
		directory.Close()
		transport.CloseIdleConnections()
	}, nil
}

// url returns the URL for other relays; own is the one to listen at.
func (o *directoryOptions) url(own string) (string, error) {
	u, err := url.Parse(own)
	if err != nil || u.Host == "" {
		return "", usage.Errorf("--directory: other relays can't reach %s: give --accept an address", own)
	}
	if o.advertise != "" {
		if a, err := url.Parse(o.advertise); err == nil && strings.Trim(a.Path, "/") == "" {
			return strings.TrimSuffix(o.advertise, "/") + strings.TrimSuffix(u.EscapedPath(), "/"), nil
		}
		return o.advertise, nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsUnspecified() {
		return "", &usage.Error{Err: errors.New("--directory: other relays can't dial " + u.Host), Advice: "give the URL of this machine with --advertise"}
	}
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	if err := relay.CheckURL(u.String()); err != nil {
		return "", usage.Errorf("--directory: other relays can't use %s: %w; give --advertise", u, err)
	}
	return u.String(), nil
}

// newHopTransport returns the transport for other relays. They are near, and answer a
// handshake at once.
func newHopTransport(config func() *tls.Config) *http.Transport {
	const timeout, responseTimeout, maxHeader = 2 * time.Second, 5 * time.Second, 64 << 10
	return &http.Transport{
		DialContext: (&net.Dialer{Timeout: timeout}).DialContext,
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*timeout)
			defer cancel()
			return (&tls.Dialer{Config: config()}).DialContext(ctx, network, addr)
		},
		ResponseHeaderTimeout:  responseTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		IdleConnTimeout:        time.Minute,
	}
}
