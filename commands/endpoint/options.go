package endpoint

import (
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// The defaults.
const (
	DefaultURL    = "ws://127.0.0.1:7070/"
	DefaultAccept = "127.0.0.1:7070"

	defaultMaxSessions = 1024

	defaultMaxRelaySessions = 12000
	defaultDrainTimeout     = 30 * time.Second
)

// Options are the values of the flags, and the URL on the command line. A command with
// fewer flags leaves the others at zero.
type Options struct {
	URL   string // to dial; may be empty
	Given usage.Given

	// Secrets receives the headers, the metadata and the token, also each new one. Nil:
	// they are not masked.
	Secrets *escape.Secrets

	// DefaultURL or DefaultAccept applies if there is neither a URL nor --accept.
	DefaultURL, DefaultAccept string

	Name, To                     string // of a Worker at a relay
	Accept, Path                 string
	Header                       []string
	ExpandHeaders                bool
	TokenFile, TokenHeader       string
	TLS                          TLSOptions
	Inner                        InnerOptions
	AllowUnauthenticated         bool
	Proxy                        string
	Subprotocols, Origins        []string
	PingInterval, PingTimeout    time.Duration
	ConnectTimeout, DrainTimeout time.Duration
	YamuxRole, Window            string
	MaxSessions, MaxRetries      int
	MaxRetryInterval             time.Duration
	MaxMessage                   int64

	retries  bool // the command has RetryFlags
	isWorker bool // the command has WorkerFlags
}

// SessionFlags returns the flags of commands that keep sessions up.
func (o *Options) SessionFlags() []cli.Flag {
	return slices.Concat(
		[]cli.Flag{usage.Strings(&o.Header, "header", "send the header `'Name: value'` when dialing; repeatable", "H")},
		o.ConnectFlags(),
		[]cli.Flag{
			usage.Int(&o.MaxSessions, "max-sessions", "accept at most `N` sessions at a time; 0 for no limit", defaultMaxSessions),
			usage.Duration(&o.DrainTimeout, "drain-timeout", "let calls in flight finish for at most `DURATION` when stopped", defaultDrainTimeout),
		},
		o.RetryFlags())
}

// RetryFlags returns the flags of commands that dial again after a loss.
func (o *Options) RetryFlags() []cli.Flag {
	o.retries = true
	return []cli.Flag{
		usage.Int(&o.MaxRetries, "max-retries", "dial at most `N` more times in a row after a failure; -1 for no limit", -1),
		usage.Duration(&o.MaxRetryInterval, "max-retry-interval", "wait at most `DURATION` before the next dial, unless the peer asks for more", tunnel.DefaultMaxRetryInterval),
	}
}

// ConnectFlags returns the flags of commands that have a session. The flag header,
// which not all of them describe alike, goes with them.
func (o *Options) ConnectFlags() []cli.Flag {
	return []cli.Flag{
		usage.String(&o.Accept, "accept", "wait for WebSockets at `ADDR` instead of dialing", ""),
		usage.String(&o.Path, "path", "accept only at this `PATH`", ""),
		usage.Bool(&o.ExpandHeaders, "expand-headers", "replace ${VARIABLE} in headers and metadata by its value"),
		usage.Path(&o.TokenFile, "token-file", "send the token in `PATH`, or WSTUN_TOKEN; demand it when accepting"),
		usage.String(&o.TokenHeader, "token-header", "use the header `NAME` for the token, not Authorization: Bearer", ""),
		usage.Path(&o.TLS.Cert, "cert", "certificate `PATH`, of the client, or for wss when accepting"),
		usage.Path(&o.TLS.Key, "key", "private key `PATH` of --cert"),
		usage.Path(&o.TLS.CACert, "cacert", "trust the authority in `PATH`; when accepting, demand client certificates"),
		usage.String(&o.TLS.ServerName, "servername", "expect the peer's certificate to be for `NAME`", ""),
		usage.Bool(&o.TLS.Insecure, "insecure", "don't verify the peer's certificate"),
		usage.Bool(&o.AllowUnauthenticated, "allow-unauthenticated", "accept on other than loopback addresses with neither token nor client certificates"),
		usage.String(&o.Proxy, "proxy", "dial through the proxy `URL`, or none (default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY)", ""),
		usage.Strings(&o.Subprotocols, "subprotocol", "offer or accept the WebSocket subprotocol `NAME`; repeatable"),
		usage.Strings(&o.Origins, "origin", "let in handshakes of browsers with this `ORIGIN`, such as https://hub.example, * for any; repeatable"),
		usage.Duration(&o.PingInterval, "ping-interval", "send a WebSocket Ping every `DURATION`; 0 for none", wsmux.DefaultPingInterval),
		usage.Duration(&o.PingTimeout, "ping-timeout", "give up on a peer that was silent for `DURATION`; 0 for never", wsmux.DefaultPingTimeout),
		usage.Seconds(&o.ConnectTimeout, "connect-timeout", "give up on a dial after `TIME`, in seconds or as 1m30s; 0 for never", tunnel.DefaultConnectTimeout),
		usage.String(&o.YamuxRole, "yamux-role", "be the yamux `ROLE` client or server (default: server for serve, else client)", ""),
		usage.Size(&o.MaxMessage, "max-ws-message", "send WebSocket messages of at most `SIZE`, for a peer with a limit; 0 for no limit", 0),
		usage.String(&o.Window, "window", "receive window of a stream, `SIZE` in bytes, KiB or MiB; auto: as much as the link can use, 1MiB, or up to 16MiB on a long link", "auto"),
	}
}

// RelayFlags returns the flags of a relay, which only accepts.
func (o *Options) RelayFlags() []cli.Flag {
	return []cli.Flag{
		usage.String(&o.Accept, "accept", "wait for WebSockets at `ADDR` (default: "+DefaultAccept+")", ""),
		usage.String(&o.Path, "path", "accept only at `PATH`/v1/worker/NAME", ""),
		usage.Path(&o.TLS.Cert, "cert", "certificate `PATH`, for wss"),
		usage.Path(&o.TLS.Key, "key", "private key `PATH` of --cert"),
		usage.Path(&o.TLS.CACert, "cacert", "demand client certificates of the authority in `PATH`"),
		usage.Duration(&o.PingInterval, "ping-interval", "send a WebSocket Ping every `DURATION`; 0 for none", wsmux.DefaultPingInterval),
		usage.Duration(&o.PingTimeout, "ping-timeout", "give up on a peer that was silent for `DURATION`; 0 for never", wsmux.DefaultPingTimeout),
		usage.Int(&o.MaxSessions, "max-sessions", "accept at most `N` sessions at a time; 0 for no limit", defaultMaxRelaySessions),
		usage.Duration(&o.DrainTimeout, "drain-timeout", "let calls in flight finish for at most `DURATION` when stopped", defaultDrainTimeout),
	}
}

// dialFlags returns the flags of a single dial.
func (o *Options) dialFlags() []cli.Flag {
	return []cli.Flag{
		usage.Strings(&o.Header, "header", "send the header `'Name: value'`; repeatable", "H"),
		usage.Bool(&o.ExpandHeaders, "expand-headers", "replace ${VARIABLE} in headers by its value"),
		usage.Path(&o.TokenFile, "token-file", "send the token in `PATH`, or WSTUN_TOKEN"),
		usage.String(&o.TokenHeader, "token-header", "use the header `NAME` for the token, not Authorization: Bearer", ""),
		usage.Path(&o.TLS.Cert, "cert", "client certificate `PATH`"),
		usage.Path(&o.TLS.Key, "key", "private key `PATH` of --cert"),
		usage.Path(&o.TLS.CACert, "cacert", "trust the authority in `PATH`"),
		usage.String(&o.TLS.ServerName, "servername", "expect the peer's certificate to be for `NAME`", ""),
		usage.Bool(&o.TLS.Insecure, "insecure", "don't verify the peer's certificate"),
		usage.String(&o.Proxy, "proxy", "dial through the proxy `URL`, or none (default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY)", ""),
	}
}

// RequestFlags returns the flags of a command that sends requests.
func (o *Options) RequestFlags() []cli.Flag {
	return append(o.dialFlags(),
		usage.Seconds(&o.ConnectTimeout, "connect-timeout", "give up after `TIME`, in seconds or as 1m30s; 0 for never", tunnel.DefaultConnectTimeout),
	)
}

// CheckFlags returns the flags of a command that dials and probes.
func (o *Options) CheckFlags() []cli.Flag {
	return slices.Concat(o.EngineerFlags(), o.dialFlags(), []cli.Flag{
		usage.Strings(&o.Subprotocols, "subprotocol", "offer the WebSocket subprotocol `NAME`; repeatable"),
		usage.Seconds(&o.ConnectTimeout, "connect-timeout", "give up on a layer after `TIME`, in seconds or as 1m30s; 0 for never", tunnel.DefaultConnectTimeout),
		usage.String(&o.YamuxRole, "yamux-role", "be the yamux `ROLE` client or server", wsmux.Client.String()),
		usage.Size(&o.MaxMessage, "max-ws-message", "send WebSocket messages of at most `SIZE`, for a peer with a limit; 0 for no limit", 0),
	})
}
