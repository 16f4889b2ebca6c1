package commands

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/check"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "probe each layer to a gRPC service behind a WebSocket and name the one that fails",
		ArgsUsage: "URL",
		UsageText: "wstun check [flags] URL",
		Description: "Prints a line for each layer, in order, and stops at the first that fails: dns, tcp, proxy,\n" +
			"tls, websocket (the HTTP upgrade), ping (of the WebSocket), yamux (Ping, role, opening a\n" +
			"stream), http2 (SETTINGS), health and reflection. Those that don't apply are left out.\n" +
			"The session is a new one, and is ended in order.\n\n" +
			"Exit status: 0 if all is well, 3 if the credentials were refused, 2 for wrong flags, and\n" +
			"otherwise the layer's: 10 dns, 11 tcp, 12 proxy, 13 tls, 14 websocket, 15 ping, 16 yamux,\n" +
			"17 http2, 18 health, 19 reflection. No health service is no failure.",
		Flags: []cli.Flag{
			stringsFlag("header", "send the header `'Name: value'`; repeatable", "H"),
			boolFlag("expand-headers", "replace ${VARIABLE} in headers by its value"),
			pathFlag("token-file", "send the token in `PATH`; or WSTUN_TOKEN"),
			stringFlag("token-header", "send the token in the header `NAME` as it stands, not in Authorization: Bearer", ""),
			pathFlag("cert", "client certificate `PATH`"),
			pathFlag("key", "private key `PATH` of --cert"),
			pathFlag("cacert", "trust the authority in `PATH`"),
			stringFlag("servername", "expect the peer's certificate to be for `NAME`", ""),
			boolFlag("insecure", "don't verify the peer's certificate"),
			stringFlag("proxy", "dial through the proxy `URL`: http, https, socks5 or socks5h; none for none (default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY)", ""),
			stringsFlag("subprotocol", "offer the WebSocket subprotocol `NAME`; repeatable"),
			durationFlag("connect-timeout", "give up on a layer after `DURATION`; 0 for never", tunnel.DefaultConnectTimeout),
			stringFlag("yamux-role", "be the yamux `ROLE` client or server", wsmux.Client.String()),
			stringFlag("output", "print as `FORMAT`: text, or json: an object a layer", "text"),
			stringFlag("log-level", "log from `LEVEL` up: debug, info, warn or error", "warn"),
			stringFlag("log-format", "log as `FORMAT`: text or json", "text"),
		},
		Action: p.check,
	}
}

// layerError is that a layer has failed, which check has reported.
type layerError struct{ status int }

func (e *layerError) Error() string { return fmt.Sprintf("a layer failed: status %d", e.status) }

func (p *program) check(c *cli.Context) error {
	args, err := p.arguments(c, 1)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return &usageError{err: errors.New("no URL to check"), hint: "such as wstun check " + defaultURL}
	}
	opts, err := p.checkOptions(c, args[0])
	if err != nil {
		return err
	}
	output := c.String("output")
	if output != "text" && output != "json" {
		return usagef("--output %q: want text or json", output)
	}
	var failed error
	err = check.Run(c.Context, args[0], opts, func(r check.Result) {
		if r.Err != nil {
			r.Hint = cmp.Or(r.Hint, hint(r.Err), layerHints[r.Layer])
			failed = &layerError{layerStatus(r)}
		}
		if output == "json" {
			writeResult(p.stdout, r)
			return
		}
		fmt.Fprintf(p.stdout, "%-4s  %-10s %8s  %s\n", verdict(r), r.Layer, milliseconds(r.Took), r.Detail)
		if r.Hint != "" {
			fmt.Fprintf(p.stderr, "wstun: hint: %s\n", r.Hint)
		}
	})
	switch {
	case err != nil && c.Err() != nil:
		return errors.New("stopped before all layers were probed")
	case err != nil:
		return err
	}
	return failed
}

// checkOptions reads the flags.
func (p *program) checkOptions(c *cli.Context, rawURL string) (*check.Options, error) {
	e := &endpoint{url: rawURL}
	if err := e.checkURL(c.String("proxy")); err != nil {
		return nil, err
	}
	if err := e.handshakeOptions(c); err != nil {
		return nil, err
	}
	if err := e.checkTLS(); err != nil {
		return nil, err
	}
	role, err := yamuxRole(c, wsmux.Client)
	if err != nil {
		return nil, err
	}
	logger, err := p.newLogger(c)
	if err != nil {
		return nil, err
	}
	if e.tls.insecure {
		logger.Warn("the peer's certificate is not verified", slog.String("url", redact(rawURL)))
	}
	e.refresh(&e.dialOptions, logger)
	return &check.Options{Dial: e.dialOptions, Role: role, Logger: logger}, nil
}

// layerHints are for failures that have no better one.
var layerHints = map[check.Layer]string{
	check.DNS:        "check the host in the URL, and this machine's resolver",
	check.TCP:        "check the host and port in the URL, and what filters connections on the way",
	check.Proxy:      "check the proxy's URL in --proxy or HTTPS_PROXY",
	check.TLS:        "check that the port is for wss://, and what the peer's TLS wants",
	check.WebSocket:  "check the URL's port and path: what answers there doesn't upgrade to a WebSocket",
	check.Ping:       "the peer has upgraded and then ended it: see its log",
	check.Yamux:      "the peer has ended the session: see its log",
	check.HTTP2:      "see the peer's log",
	check.Health:     "see the peer's log",
	check.Reflection: "see the peer's log; calls may work for clients that have the descriptors",
}

// layerStatus is the exit status of a failed layer.
func layerStatus(r check.Result) int {
	if exitStatus(r.Err) == exitRefused {
		return exitRefused
	}
	return exitLayer + slices.Index(check.Layers(), r.Layer)
}

func verdict(r check.Result) string {
	switch {
	case r.Err != nil:
		return "FAIL"
	case r.Note:
		return "note"
	}
	return "ok"
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
}

// writeResult prints one JSON object.
func writeResult(w io.Writer, r check.Result) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct {
		Layer  check.Layer `json:"layer"`
		OK     bool        `json:"ok"`
		MS     float64     `json:"ms"`
		Detail string      `json:"detail"`
		Hint   string      `json:"hint,omitempty"`
	}{r.Layer, r.Err == nil, float64(r.Took.Microseconds()) / 1000, r.Detail, r.Hint})
}
