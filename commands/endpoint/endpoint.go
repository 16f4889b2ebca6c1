// Package endpoint has the WebSocket side of a command: it dials or accepts, with
// TLS, tokens and headers as the flags say.
//
//	var opts endpoint.Options
//	flags := opts.SessionFlags()
//	…
//	e, err := endpoint.New(&opts, wsmux.Server)
//	l, url, err := e.Listen(ctx, logger)
//	err = e.Run(ctx, l, sessions, logger, onRetry)
//
// Certificates and tokens are read again when their files change.
package endpoint

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Endpoint dials or accepts sessions.
type Endpoint struct {
	URL    string          // to dial; empty: accept
	TLS    *TLS            // its files
	Redial <-chan struct{} // dials again at once when it can be received from; nil: never

	DrainTimeout time.Duration

	accept               string // address to accept at
	token                *source[string]
	tokenHeader          string // empty: Authorization: Bearer
	dialOptions          tunnel.DialOptions
	acceptOptions        tunnel.AcceptOptions
	allowUnauthenticated bool
	maxRetries           int
	maxRetryInterval     time.Duration
	dials                atomic.Uint64          // of a Worker
	since                atomic.Pointer[string] // its relay.SinceHeader
}

// New checks the options. role is the yamux role without --yamux-role. The error is a
// *usage.Error.
func New(o *Options, role wsmux.Role) (*Endpoint, error) {
	e, err := NewDialing(o)
	if err != nil {
		return nil, err
	}
	session, err := o.session(role)
	if err != nil {
		return nil, err
	}
	if o.Path != "" && !strings.HasPrefix(o.Path, "/") {
		return nil, usage.Errorf("--path %q: want it to begin with /", o.Path)
	}
	if _, err := url.PathUnescape(o.Path); err != nil || strings.ContainsAny(o.Path, "?#") {
		return nil, usage.Errorf("--path %q: no URL has such a path: percent-encode %%, ? and #", o.Path)
	}
	if e.URL != "" {
		err = o.Given.Reject("accepting", "path", "origin", "max-sessions", "allow-unauthenticated")
	} else {
		err = o.Given.Reject("dialing", "header", "servername", "insecure", "proxy", "connect-timeout", "max-retries", "max-retry-interval")
	}
	if err != nil {
		return nil, err
	}
	origins := make([]string, len(o.Origins))
	for i, origin := range o.Origins {
		if origins[i], err = parseOrigin(origin); err != nil {
			return nil, err
		}
	}
	if err := o.checkLimits(); err != nil {
		return nil, err
	}
	session.MaxMessage = e.dialOptions.Session.MaxMessage
	e.dialOptions.Session = session
	e.acceptOptions = tunnel.AcceptOptions{
		Path:         o.Path,
		TokenHeader:  o.TokenHeader,
		Origins:      origins,
		Subprotocols: o.Subprotocols,
		MaxSessions:  o.MaxSessions,
		Session:      session,
	}
	e.allowUnauthenticated = o.AllowUnauthenticated
	e.maxRetries, e.maxRetryInterval, e.DrainTimeout = o.MaxRetries, o.MaxRetryInterval, o.DrainTimeout
	return e, nil
}

// NewDialing checks the options of the handshake, and of those of a session only
// --max-ws-message.
func NewDialing(o *Options) (*Endpoint, error) {
	if err := o.checkURL(); err != nil {
		return nil, err
	}
	e := &Endpoint{accept: o.Accept, tokenHeader: o.TokenHeader}
	var err error
	if e.token, err = newToken(o.TokenFile, o.Secrets); err != nil {
		return nil, err
	}
	if o.TokenHeader != "" && !httpguts.ValidHeaderFieldName(o.TokenHeader) {
		return nil, usage.Errorf("--token-header %q: not a header name", o.TokenHeader)
	}
	if err := checkName("token-header", o.TokenHeader); err != nil {
		return nil, err
	}
	if o.TokenHeader != "" && e.token == nil {
		return nil, usage.Errorf("--token-header %s without a token: give it with --token-file or WSTUN_TOKEN", o.TokenHeader)
	}
	lines, err := Lines("header", o.Header, o.ExpandHeaders)
	if err != nil {
		return nil, err
	}
	header, err := handshakeHeader(lines)
	if err != nil {
		return nil, err
	}
	o.Secrets.AddHeader(header)
	if err := o.applyWorker(header); err != nil {
		return nil, err
	}
	e.URL = o.URL
	if err := e.checkCredentials(header); err != nil {
		return nil, err
	}
	if e.TLS, err = NewTLS("--", &o.TLS); err != nil {
		return nil, err
	}
	if err := usage.NotNegative("connect-timeout", o.ConnectTimeout); err != nil {
		return nil, err
	}
	for _, name := range o.Subprotocols {
		if !httpguts.ValidHeaderFieldName(name) { // both are tokens (RFC 6455 §4.1)
			return nil, usage.Errorf("--subprotocol %q: not a subprotocol's name; of several, give each a flag of its own", name)
		}
	}
	e.dialOptions = tunnel.DialOptions{
		Header:         header,
		Proxy:          o.Proxy,
		Subprotocols:   o.Subprotocols,
		ConnectTimeout: OrOff(o.ConnectTimeout),
	}
	const least, most = 1 << 10, 1 << 30
	if n := o.MaxMessage; n != 0 && (n < least || n > most) {
		return nil, usage.Errorf("--max-ws-message %s: want 1KiB to 1GiB, or 0", usage.FormatSize(n))
	}
	e.dialOptions.Session.MaxMessage = int(o.MaxMessage)
	return e, e.checkTLS()
}

// checkCredentials refuses a header, a token and the URL's user if the handshake would
// lack one of them, because another one replaces it.
func (e *Endpoint) checkCredentials(header http.Header) error {
	u, err := url.Parse(e.URL)
	if err != nil || e.URL == "" {
		return err
	}
	name := http.CanonicalHeaderKey(cmp.Or(e.tokenHeader, "Authorization"))
	inToken := e.token != nil && name == "Authorization"
	switch {
	case e.token != nil && header.Get(name) != "":
		return &usage.Error{Err: fmt.Errorf("both --header %s and a token, of --token-file or WSTUN_TOKEN", name), Advice: "leave one out, or send the token in another header with --token-header"}
	case u.User != nil && (inToken || header.Get("Authorization") != ""):
		return &usage.Error{Err: errors.New("both a user in the URL and another Authorization"), Advice: "leave one out, or send a token in another header with --token-header"}
	}
	return nil
}

// parseOrigin returns the value of --origin as browsers send it (RFC 6454 §6.2): in lower
// case, in ASCII and without the default port.
func parseOrigin(origin string) (string, error) {
	if origin == "*" || origin == "null" {
		return origin, nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || !strings.EqualFold(origin, u.Scheme+"://"+u.Host) {
		return "", usage.Errorf("--origin %q: want scheme and host, such as https://hub.example, or *", origin)
	}
	host, err := outbound.ASCIIHost(strings.ToLower(u.Host))
	if err != nil {
		return "", usage.Errorf("--origin %w", err)
	}
	defaultPort := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return u.Scheme + "://" + strings.TrimSuffix(host, defaultPort), nil
}

// checkURL decides between dialing and accepting. It checks the URL to dial, and its
// proxy: that of the flag, or the environment's.
func (o *Options) checkURL() error {
	switch {
	case o.URL != "" && o.Given["accept"]:
		return usage.Errorf("both --accept %s and the URL %s: a side either accepts or dials", o.Accept, Redact(o.URL))
	case o.URL == "" && o.Accept == "":
		o.URL, o.Accept = o.DefaultURL, o.DefaultAccept
	case o.URL != "": // on the command line, so it overrides an address from a variable
		o.Accept = ""
	}
	if o.URL == "" {
		return nil
	}
	target, err := outbound.ParseURL(o.URL)
	switch {
	case err != nil && strings.HasPrefix(o.URL, "unix"):
		return &usage.Error{Err: err, Advice: "a WebSocket at a unix socket is reached through a reverse proxy: dial the URL of that"}
	case err != nil:
		return &usage.Error{Err: err, Advice: "want ws://host:port/path or wss://…"}
	}
	_, err = outbound.ProxyFor(o.Proxy, target)
	switch {
	case err != nil && o.Proxy == "":
		return &usage.Error{Err: err, Advice: "fix that variable, or go without a proxy with --proxy none"}
	case err != nil:
		return usage.Errorf("--proxy: %w", err)
	}
	return nil
}

// checkTLS checks whether the TLS flags fit.
func (e *Endpoint) checkTLS() error {
	if e.URL == "" {
		if e.TLS.authorities != nil && e.TLS.certificate == nil {
			return &usage.Error{Err: errors.New("--cacert demands client certificates, which needs TLS"), Advice: "give this side's certificate with --cert and --key"}
		}
		return nil
	}
	flag := e.TLS.Flag()
	if u, err := url.Parse(e.URL); err == nil && (u.Scheme == "ws" || u.Scheme == "http") && flag != "" {
		return &usage.Error{Err: errors.New(flag + " with a URL that has no TLS"), Advice: fmt.Sprintf("use %ss:// instead of %[1]s://, or leave out %s", u.Scheme, flag)}
	}
	return nil
}

func (o *Options) checkLimits() error {
	if err := usage.NotNegative("drain-timeout", o.DrainTimeout); err != nil {
		return err
	}
	if err := o.CheckRetries(); err != nil {
		return err
	}
	if o.MaxSessions < 0 {
		return usage.Errorf("--max-sessions %d: want 0 or more", o.MaxSessions)
	}
	return nil
}

// CheckRetries checks the values of RetryFlags.
func (o *Options) CheckRetries() error {
	if o.MaxRetries < -1 {
		return usage.Errorf("--max-retries %d: want 0 or more, or -1 for no limit", o.MaxRetries)
	}
	if o.MaxRetryInterval < 0 || o.MaxRetryInterval == 0 && o.retries {
		return usage.Errorf("--max-retry-interval %v: want more than 0", o.MaxRetryInterval)
	}
	return nil
}

// session returns the options of sessions.
func (o *Options) session(role wsmux.Role) (tunnel.SessionOptions, error) {
	opts := tunnel.SessionOptions{PingInterval: OrOff(o.PingInterval), PingTimeout: OrOff(o.PingTimeout)}
	var err error
	if opts.Role, err = o.Role(role); err != nil {
		return opts, err
	}
	if err := errors.Join(usage.NotNegative("ping-interval", o.PingInterval), usage.NotNegative("ping-timeout", o.PingTimeout)); err != nil {
		return opts, err
	}
	if o.PingInterval > 0 && o.PingTimeout > 0 && o.PingTimeout <= o.PingInterval {
		return opts, &usage.Error{
			Err:    fmt.Errorf("--ping-timeout %v with --ping-interval %v: an idle peer would be given up before it can answer a Ping", o.PingTimeout, o.PingInterval),
			Advice: "set --ping-timeout to at least twice --ping-interval",
		}
	}
	opts.Window, err = parseWindow(o.Window)
	return opts, err
}

// Role returns the role of --yamux-role, or role without it.
func (o *Options) Role(role wsmux.Role) (wsmux.Role, error) {
	switch o.YamuxRole {
	case "":
		return role, nil
	case wsmux.Client.String():
		return wsmux.Client, nil
	case wsmux.Server.String():
		return wsmux.Server, nil
	}
	return role, usage.Errorf("--yamux-role %q: want client or server", o.YamuxRole)
}

// parseWindow parses a size such as 4MiB.
func parseWindow(s string) (uint32, error) {
	if s == "auto" {
		return 0, nil
	}
	n, err := usage.ParseSize(s)
	if err != nil {
		return 0, usage.Errorf("--window %q: want auto or a size such as 4MiB, 512KiB or 1048576", s)
	}
	const smallest, largest = 256 << 10, 1 << 30 // yamux windows start at 256 KiB
	if n < smallest || n > largest {
		return 0, usage.Errorf("--window %s: want 256KiB to 1024MiB", s)
	}
	return uint32(n), nil
}

// LimitUnread limits the memory of bytes that peers have sent and nothing has read yet. It
// must be called before the first session.
func (e *Endpoint) LimitUnread(limit *mux.UnreadLimit) {
	e.dialOptions.Session.Unread, e.acceptOptions.Session.Unread = limit, limit
}

// Observe observes the streams of the sessions, as [tunnel.SessionOptions] describes. It
// must be called before the first session.
func (e *Endpoint) Observe(f func(id uint64) func(stream uint32, opened bool) *mux.StreamObserver) {
	e.dialOptions.Session.Observe, e.acceptOptions.Session.Observe = f, f
}

// SetTLS replaces the TLS of an Endpoint that dials. The names of its flags begin with
// prefix.
func (e *Endpoint) SetTLS(prefix string, o *TLSOptions) (err error) {
	if e.TLS, err = NewTLS(prefix, o); err != nil {
		return err
	}
	return e.checkTLS()
}

// DialOptions returns the options for the next dial, with certificates and token as
// they are now.
func (e *Endpoint) DialOptions(logger *slog.Logger) *tunnel.DialOptions {
	opts := e.dialOptions
	opts.Session.Logger = logger
	e.refresh(&opts, logger)
	return &opts
}

// refresh puts the current certificates and token into opts.
func (e *Endpoint) refresh(opts *tunnel.DialOptions, logger *slog.Logger) {
	opts.TLS = e.TLS.Client(logger)
	opts.Header = opts.Header.Clone()
	e.numberDial(opts)
	if e.token == nil {
		return
	}
	if e.tokenHeader != "" {
		opts.Header.Set(e.tokenHeader, e.token.get(logger))
	} else {
		opts.Header.Set("Authorization", "Bearer "+e.token.get(logger))
	}
}

// Redact returns a URL without user, password and query, even a mistyped one, and any other
// text as it is.
func Redact(rawURL string) string {
	if u, err := url.Parse(rawURL); err == nil && u.Scheme != "" && u.Host != "" && u.Fragment == "" {
		return outbound.RedactURL(rawURL)
	}
	secrets := escape.Secrets{}
	secrets.AddURL(rawURL)
	text := secrets.Mask(rawURL)
	if address, _, ok := strings.Cut(text, "?"); ok && strings.ContainsAny(address, ":/") {
		return address
	}
	return text
}

// OrOff returns d, or -1 for 0: the command line turns something off with 0, and
// package tunnel with a negative value.
func OrOff(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
