package commands

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/check"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) checkCommand() *cli.Command {
	o := &checkOptions{}
	return &cli.Command{
		Name:      "check",
		Usage:     "probe each layer to a gRPC service and name the one that fails",
		ArgsUsage: "URL",
		UsageText: "wstun check [flags] URL",
		Description: "Prints a line for each layer, in order, and stops at the first that fails: dns, tcp, proxy,\n" +
			"tls, websocket (the HTTP upgrade), relay (with --to), ping (of the WebSocket), yamux (Ping,\n" +
			"role, opening a stream), inner-tls (with --inner-tls), http2 (SETTINGS), health and\n" +
			"reflection. Layers that don't apply are left out. check opens its own session, and closes\n" +
			"it gracefully.\n\n" +
			"Exit status: 0 if all is well, 3 if the credentials were refused, 2 for wrong flags, and\n" +
			"otherwise the layer's: 10 dns, 11 tcp, 12 proxy, 13 tls, 14 websocket, 15 ping, 16 yamux,\n" +
			"17 http2, 18 health, 19 reflection, 20 relay, 21 inner-tls. Through a relay, ping and yamux\n" +
			"reach that, and the layers after them the worker. A missing health service is not a\n" +
			"failure.",
		Flags: slices.Concat(o.endpoint.CheckFlags(), []cli.Flag{
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json: an object a layer", "text"),
		}, o.log.flags("warn")),
		Action: action(p, o, p.check),
	}
}

// checkOptions are the values of the command line of wstun check.
type checkOptions struct {
	endpoint endpoint.Options
	output   string
	log      logOptions
}

func (o *checkOptions) parse(in *invocation) (err error) {
	o.endpoint.Given, o.endpoint.Secrets = in.given, in.secrets
	if o.endpoint.URL, err = in.url(); err != nil {
		return err
	}
	if o.endpoint.URL == "" {
		return &usage.Error{Err: errors.New("no URL to check"), Advice: "such as wstun check " + endpoint.DefaultURL}
	}
	return usage.OneOf("output", o.output, "text", "json")
}

func (p *program) check(ctx context.Context, o *checkOptions) error {
	e, err := endpoint.NewDialing(&o.endpoint)
	if err != nil {
		return err
	}
	role, err := o.endpoint.Role(wsmux.Client)
	if err != nil {
		return err
	}
	logger, err := p.newLogger(&o.log)
	if err != nil {
		return err
	}
	if e.TLS.Insecure() {
		logger.Warn("the peer's certificate is not verified", slog.String("url", endpoint.Redact(e.URL)))
	}
	e.OnInnerFailure(func(error) {}) // which is the layer's
	catchBrokenPipes()               // otherwise the session would not be closed gracefully
	p.pipes = true
	colors := p.colors(p.stdout)
	var failed error
	err = check.Run(ctx, e.URL, &check.Options{Dial: *e.DialOptions(logger), Worker: o.endpoint.To, Role: role, Logger: logger, Secrets: o.endpoint.Secrets}, func(r check.Result) {
		if r.Err != nil {
			r.Hint = escape.Line(cmp.Or(r.Hint, hint(r.Err, p.given), layerHints[r.Layer]))
			failed = &layerError{layerStatus(r)}
		}
		if o.output == "json" {
			writeResult(p.stdout, r)
			return
		}
		word, c := verdict(r)
		rest := fmt.Sprintf("%*s  %-10s %8s  %s\n", 4-len(word), "", r.Layer, milliseconds(r.Took), r.Detail)
		_, _ = io.WriteString(unmasked(p.stdout), colors.Paint(c, word)+escape.Text(p.secrets.Mask(rest)))
		if r.Hint != "" {
			fmt.Fprintf(p.stderr, "wstun: hint: %s\n", r.Hint)
		}
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("stopped before all layers were probed")
	case err != nil:
		return err
	}
	return failed
}

// layerError reports that a layer failed; check has printed the layer.
type layerError struct{ status int }

func (e *layerError) Error() string { return fmt.Sprintf("a layer failed: status %d", e.status) }

// layerHints are the hints for failures without a more specific one.
var layerHints = map[check.Layer]string{
	check.DNS:        "check the host in the URL, and this machine's resolver",
	check.TCP:        "check the host and port in the URL, and the firewalls on the way",
	check.Proxy:      "check the proxy's URL in --proxy or HTTPS_PROXY",
	check.TLS:        "check that the port is for wss://, and the TLS versions and certificates that the peer accepts",
	check.WebSocket:  "check the URL's port and path: the server there doesn't upgrade to a WebSocket",
	check.Relay:      "check that the URL is that of wstun relay, and its log",
	check.Ping:       "the peer closed the WebSocket after the upgrade: see its log",
	check.Yamux:      "the peer has ended the session: see its log",
	check.InnerTLS:   "see the log of the worker",
	check.HTTP2:      "see the peer's log",
	check.Health:     "see the peer's log",
	check.Reflection: "see the peer's log; calls may work for clients that have the descriptors",
}

// layerStatus returns the exit status for a failed layer.
func layerStatus(r check.Result) int {
	if exitStatus(r.Err) == exitRefused {
		return exitRefused
	}
	newer := map[check.Layer]int{check.Relay: exitRelay, check.InnerTLS: exitInner} // the statuses of the others stay
	if status, ok := newer[r.Layer]; ok {
		return status
	}
	return exitLayer + slices.Index(slices.DeleteFunc(check.Layers(), func(l check.Layer) bool { return newer[l] != 0 }), r.Layer)
}

// verdict returns the verdict on a layer, and its color.
func verdict(r check.Result) (string, terminal.Color) {
	switch {
	case r.Err != nil:
		return "FAIL", terminal.Red
	case r.Note:
		return "note", terminal.Yellow
	}
	return "ok", terminal.Green
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
