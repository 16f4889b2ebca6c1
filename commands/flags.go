package commands

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// env is the environment variable of a flag.
func env(flag string) []string {
	return []string{"WSTUN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

func stringFlag(name, usage, value string) cli.Flag {
	return &cli.StringFlag{Name: name, Usage: usage, Value: value, EnvVars: env(name)}
}

func stringsFlag(name, usage string, aliases ...string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Aliases: aliases, Usage: usage, EnvVars: env(name)}
}

func pathFlag(name, usage string) cli.Flag {
	return &cli.PathFlag{Name: name, Usage: usage, EnvVars: env(name)}
}

func boolFlag(name, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, EnvVars: env(name)}
}

func intFlag(name, usage string, value int) cli.Flag {
	return &cli.IntFlag{Name: name, Usage: usage, Value: value, EnvVars: env(name)}
}

func durationFlag(name, usage string, value time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: name, Usage: usage, Value: value, EnvVars: env(name)}
}

const (
	defaultURL          = "ws://127.0.0.1:7070/"
	defaultAccept       = "127.0.0.1:7070"
	defaultDrainTimeout = 30 * time.Second
	defaultMaxSessions  = 1024
)

// sessionFlags are the flags of every command that keeps sessions up.
func sessionFlags() []cli.Flag {
	return slices.Concat(
		[]cli.Flag{stringsFlag("header", "send the header `'Name: value'` when dialing; repeatable", "H")},
		connectFlags(),
		[]cli.Flag{
			intFlag("max-sessions", "accept at most `N` sessions at a time; 0 for no limit", defaultMaxSessions),
			durationFlag("drain-timeout", "let calls in flight finish for at most `DURATION` when stopped", defaultDrainTimeout),
		},
		retryFlags())
}

// retryFlags are the flags of every command that dials again after a loss.
func retryFlags() []cli.Flag {
	return []cli.Flag{
		intFlag("max-retries", "dial at most `N` more times in a row after a failure; -1 for no limit", -1),
		durationFlag("max-retry-interval", "wait at most `DURATION` between two dials", tunnel.DefaultMaxRetryInterval),
	}
}

// checkRetries checks the retryFlags.
func checkRetries(c *cli.Context) error {
	if n := c.Int("max-retries"); n < -1 {
		return usagef("--max-retries %d: want 0 or more, or -1 for no limit", n)
	}
	if d := c.Duration("max-retry-interval"); d <= 0 {
		return usagef("--max-retry-interval %v: want more than 0", d)
	}
	return nil
}

// connectFlags are the flags of every command that has a session, if only for a
// while. To them belongs the flag header, which not all explain alike.
func connectFlags() []cli.Flag {
	return []cli.Flag{
		stringFlag("accept", "wait for WebSockets at `ADDR` instead of dialing one: host:port, :port (loopback) or unix:PATH, for a reverse proxy", ""),
		stringFlag("path", "accept only at this `PATH`", ""),
		boolFlag("expand-headers", "replace ${VARIABLE} in headers and metadata by its value"),
		pathFlag("token-file", "send the token in `PATH` when dialing, demand it when accepting; or WSTUN_TOKEN"),
		stringFlag("token-header", "have the token in the header `NAME` as it stands, not in Authorization: Bearer", ""),
		pathFlag("cert", "certificate `PATH`: the accepting side's for wss, the dialing side's client certificate"),
		pathFlag("key", "private key `PATH` of --cert"),
		pathFlag("cacert", "trust the authority in `PATH`; the accepting side then demands client certificates"),
		stringFlag("servername", "expect the peer's certificate to be for `NAME`", ""),
		boolFlag("insecure", "don't verify the peer's certificate"),
		boolFlag("allow-unauthenticated", "accept on other than loopback addresses with neither token nor client certificates"),
		stringFlag("proxy", "dial through the proxy `URL`: http, https, socks5 or socks5h; none for none (default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY)", ""),
		stringsFlag("subprotocol", "offer or accept the WebSocket subprotocol `NAME`; repeatable"),
		stringsFlag("origin", "let in handshakes of browsers with this `ORIGIN`, such as https://hub.example, * for any; repeatable"),
		durationFlag("ping-interval", "send a WebSocket Ping every `DURATION`; 0 for none", wsmux.DefaultPingInterval),
		durationFlag("ping-timeout", "give up on a peer that was silent for `DURATION`; 0 for never", wsmux.DefaultPingTimeout),
		durationFlag("connect-timeout", "give up on a dial after `DURATION`; 0 for never", tunnel.DefaultConnectTimeout),
		stringFlag("yamux-role", "be the yamux `ROLE` client or server (default: server for serve, else client)", ""),
		stringFlag("window", "receive window of a stream, `SIZE` in bytes, KiB or MiB; auto: as much as the link can use, 1MiB, or up to 16MiB on a long way", "auto"),
	}
}

// endpoint says how to come by sessions: by dialing or by accepting.
type endpoint struct {
	url    string // to dial; empty: accept
	accept string // address to accept at
	tls    *tlsFiles

	token       *source[string] // nil: none
	tokenHeader string          // empty: Authorization: Bearer

	dialOptions   tunnel.DialOptions
	acceptOptions tunnel.AcceptOptions

	redial <-chan struct{} // dial again at once; nil: never

	allowUnauthenticated bool
	maxRetries           int
	maxRetryInterval     time.Duration
	drainTimeout         time.Duration
}

// newEndpoint checks the session flags and the URL, which may be empty.
// whenNeither is what to do without URL and --accept.
func newEndpoint(c *cli.Context, role wsmux.Role, rawURL string, whenNeither endpoint) (*endpoint, error) {
	e, err := newConnection(c, role, rawURL, whenNeither)
	if err != nil {
		return nil, err
	}
	if err := notNegative(c, "drain-timeout"); err != nil {
		return nil, err
	}
	if err := checkRetries(c); err != nil {
		return nil, err
	}
	if n := c.Int("max-sessions"); n < 0 {
		return nil, usagef("--max-sessions %d: want 0 or more", n)
	}
	e.acceptOptions.MaxSessions = c.Int("max-sessions")
	e.maxRetries = c.Int("max-retries")
	e.maxRetryInterval = c.Duration("max-retry-interval")
	e.drainTimeout = c.Duration("drain-timeout")
	return e, nil
}

// newConnection is newEndpoint for a command that has the connectFlags alone, and
// one session.
func newConnection(c *cli.Context, role wsmux.Role, rawURL string, whenNeither endpoint) (*endpoint, error) {
	e := whenNeither
	switch accept := c.String("accept"); {
	case rawURL != "" && typed(c, "accept"):
		return nil, usagef("both --accept %s and the URL %s: a side either accepts or dials", accept, redact(rawURL))
	case rawURL != "": // typed, so it goes before an address that is set
		e = endpoint{url: rawURL}
	case accept != "":
		e = endpoint{accept: accept}
	}
	if err := e.checkURL(c.String("proxy")); err != nil {
		return nil, err
	}
	session, err := sessionOptions(c, role)
	if err != nil {
		return nil, err
	}
	if err := e.handshakeOptions(c); err != nil {
		return nil, err
	}
	if path := c.String("path"); path != "" && !strings.HasPrefix(path, "/") {
		return nil, usagef("--path %q: want it to begin with /", path)
	}
	if e.url != "" {
		if err := rejectFlags(c, "accepting", "path", "origin", "max-sessions", "allow-unauthenticated"); err != nil {
			return nil, err
		}
	} else if err := rejectFlags(c, "dialing", "header", "servername", "insecure", "proxy", "connect-timeout", "max-retries", "max-retry-interval"); err != nil {
		return nil, err
	}
	for _, origin := range c.StringSlice("origin") {
		if u, err := url.Parse(origin); origin != "*" && origin != "null" && (err != nil || u.Host == "" || origin != u.Scheme+"://"+u.Host) {
			return nil, usagef("--origin %q: want scheme and host, such as https://hub.example, or *", origin)
		}
	}
	e.dialOptions.Session = session
	e.acceptOptions = tunnel.AcceptOptions{
		Path:         c.String("path"),
		TokenHeader:  e.tokenHeader,
		Origins:      c.StringSlice("origin"),
		Subprotocols: c.StringSlice("subprotocol"),
		MaxSessions:  1,
		Session:      session,
	}
	e.allowUnauthenticated = c.Bool("allow-unauthenticated")
	return &e, e.checkTLS()
}

// checkURL checks the URL to dial, if there is one, and the proxy on the way:
// that of the flag, or the environment's if proxy is empty.
func (e *endpoint) checkURL(proxy string) error {
	if e.url == "" {
		return nil
	}
	target, err := outbound.ParseURL(e.url)
	switch {
	case err != nil && strings.HasPrefix(e.url, "unix:"):
		return &usageError{err: err, hint: "a WebSocket at unix:PATH is reached through a reverse proxy: dial the URL of that"}
	case err != nil:
		return &usageError{err: err, hint: "want ws://host:port/path or wss://…"}
	}
	_, err = outbound.ProxyFor(proxy, target)
	switch {
	case err != nil && proxy == "":
		return &usageError{err: err, hint: "fix that variable, or go without a proxy with --proxy none"}
	case err != nil:
		return usagef("--proxy: %w", err)
	}
	return nil
}

// rejectFlags refuses flags on the command line that would do nothing.
// Those from the environment may serve several commands.
func rejectFlags(c *cli.Context, purpose string, names ...string) error {
	for _, name := range names {
		if typed(c, name) {
			return usagef("--%s is for %s", name, purpose)
		}
	}
	return nil
}

// typed reports whether a flag is on the command line. c.IsSet would be true
// for one that its variable sets, too.
func typed(c *cli.Context, flag string) bool {
	line := *c
	line.Command = nil // which knows the flags that variables have set
	return slices.Contains(line.LocalFlagNames(), flag)
}

// rejectEmptyFlags refuses flags on the command line without a value, such as
// --token-file "$FILE" where there is no FILE: nothing would be demanded then.
func rejectEmptyFlags(c *cli.Context) error {
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if name == "data" || !typed(c, name) { // data is a message, which may be empty
			continue
		}
		if c.Value(name) == any("") || slices.Contains(c.StringSlice(name), "") {
			return &usageError{err: fmt.Errorf("--%s is empty", name), hint: "leave it out, or set the variable that its value comes from"}
		}
	}
	return nil
}

// redact returns a URL without what may be secret, and any other text as it is.
func redact(rawURL string) string {
	if u, err := url.Parse(rawURL); err == nil && u.Host != "" {
		return outbound.RedactURL(u)
	}
	return rawURL
}

func sessionOptions(c *cli.Context, role wsmux.Role) (tunnel.SessionOptions, error) {
	opts := tunnel.SessionOptions{
		PingInterval: orOff(c.Duration("ping-interval")),
		PingTimeout:  orOff(c.Duration("ping-timeout")),
	}
	var err error
	if opts.Role, err = yamuxRole(c, role); err != nil {
		return opts, err
	}
	if err := notNegative(c, "ping-interval", "ping-timeout"); err != nil {
		return opts, err
	}
	interval, timeout := c.Duration("ping-interval"), c.Duration("ping-timeout")
	if interval > 0 && timeout > 0 && timeout <= interval {
		return opts, &usageError{
			err:  fmt.Errorf("--ping-timeout %v with --ping-interval %v: an idle peer would be given up before it can answer a Ping", timeout, interval),
			hint: "have --ping-timeout at least twice as long as --ping-interval",
		}
	}
	opts.Window, err = parseWindow(c.String("window"))
	return opts, err
}

// yamuxRole returns the role of --yamux-role, or role without it.
func yamuxRole(c *cli.Context, role wsmux.Role) (wsmux.Role, error) {
	switch name := c.String("yamux-role"); name {
	case "":
		return role, nil
	case wsmux.Client.String():
		return wsmux.Client, nil
	case wsmux.Server.String():
		return wsmux.Server, nil
	default:
		return role, usagef("--yamux-role %q: want client or server", name)
	}
}

// notNegative checks durations.
func notNegative(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.Duration(name) < 0 {
			return usagef("--%s %v: want 0 or more", name, c.Duration(name))
		}
	}
	return nil
}

// orOff turns the command line's 0 for off into the tunnel package's -1.
func orOff(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// parseWindow reads a size such as 4MiB. yamux wants 256 KiB at the least.
func parseWindow(s string) (uint32, error) {
	if s == "auto" {
		return 0, nil
	}
	number, unit := s, uint64(1)
	if n, ok := strings.CutSuffix(s, "KiB"); ok {
		number, unit = n, 1<<10
	} else if n, ok := strings.CutSuffix(s, "MiB"); ok {
		number, unit = n, 1<<20
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, usagef("--window %q: want auto or a size such as 4MiB, 512KiB or 1048576", s)
	}
	const least, most = 256 << 10, 1 << 30
	if n *= unit; n < least || n > most {
		return 0, usagef("--window %s: want 256KiB to 1024MiB", s)
	}
	return uint32(n), nil
}
