package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fullstorydev/grpcurl"
	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/netdiag"
)

// targetFlags are the flags of every command that has a TARGET.
func targetFlags() []cli.Flag {
	return slices.Concat(
		[]cli.Flag{stringsFlag("header", "send the header `'Name: value'` with the handshake; to a plain server as metadata, with every request; repeatable", "H")},
		connectFlags(),
		[]cli.Flag{
			boolFlag("tls", "speak TLS to a plain server"),
			stringFlag("authority", "call with the authority `NAME` (default: a plain server's address, localhost in a session)", ""),
			stringFlag("user-agent", "put `TEXT` before the user agent of the requests", ""),
			stringsFlag("reflect-header", "send the metadata `'name: value'` when asking for reflection; repeatable"),
			stringsFlag("proto", "take descriptors from the source `FILE`, not from the server; repeatable"),
			stringsFlag("import-path", "look for what --proto and its imports name in `DIR`; repeatable (default: the current folder)"),
			stringsFlag("protoset", "take descriptors from the compiled `FILE`, not from the server; repeatable"),
			boolFlag("use-reflection", "ask the server, too, beside --proto or --protoset; =false: don't"),
			stringFlag("max-time", "give up after `TIME`, in seconds or as 1m30s (default: never)", ""),
			stringFlag("log-level", "log from `LEVEL` up: debug, info, warn or error", "warn"),
			stringFlag("log-format", "log as `FORMAT`: text or json", "text"),
		})
}

// isTarget tells a TARGET from a symbol.
func isTarget(arg string) bool {
	return strings.Contains(arg, ":") // as ws:// and unix: do, and no symbol does
}

// isURL tells the URL of a WebSocket from the address of a gRPC server, such as
// unix:///PATH.
func isURL(target string) bool {
	return strings.Contains(target, "://") && !strings.HasPrefix(target, "unix:")
}

// target is the server that a command asks and calls, or the local files that stand in
// for one.
type target struct {
	call.Target
	header    metadata.MD   // for each call
	connected time.Duration // how long it took to connect
	logger    *slog.Logger
	link      *link    // the one to keep up; nil: what is lost stays so
	cleanups  []func() // the last one first
}

// openTarget connects to the server at where, if empty to the one that comes to
// --accept. Unless there is to be a call, there need be no server where there are local
// files. The context is c's with --max-time; the caller closes the target.
func (p *program) openTarget(c *cli.Context, where string, toCall bool) (context.Context, *target, error) {
	return p.openTargetWith(c, nil, where, toCall)
}

// openTargetWith is openTarget with a link to keep up, or nil.
func (p *program) openTargetWith(c *cli.Context, l *link, where string, toCall bool) (_ context.Context, _ *target, err error) {
	p.pipes = true
	catchBrokenPipes() // so that the session is closed in order
	t := &target{link: l}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.logger, err = p.newLogger(c); err != nil {
		return nil, nil, err
	}
	local, err := loadDescriptors(c)
	if err != nil {
		return nil, nil, err
	}
	connect, err := p.connector(c, t, where, local != nil && !toCall)
	if err != nil {
		return nil, nil, err
	}
	asked := local == nil && connect != nil || c.Bool("use-reflection")
	switch {
	case c.IsSet("use-reflection") && !c.Bool("use-reflection") && local == nil:
		return nil, nil, usagef("--use-reflection=false without --proto or --protoset: there would be no descriptors")
	case connect == nil && (local == nil || asked):
		return nil, nil, &usageError{err: errors.New("no TARGET"), hint: "give the URL of a WebSocket, or host:port of a gRPC server; or wait for a WebSocket with --accept"}
	}
	if !asked && !toCall {
		connect = nil // there is nothing to ask the server for
	}
	if !asked && typed(c, "reflect-header") {
		return nil, nil, &usageError{err: errors.New("--reflect-header without reflection: descriptors are those of --proto or --protoset"), hint: "ask the server, too, with --use-reflection"}
	}
	reflectHeader, err := grpcMetadata(c, "reflect-header")
	if err != nil {
		return nil, nil, err
	}
	ctx, err := t.limit(c)
	if err != nil {
		return nil, nil, err
	}
	var sources []reflection.Finder
	if connect != nil {
		started := time.Now()
		cc, err := connect(ctx)
		if err != nil {
			return nil, nil, err
		}
		t.connected = time.Since(started)
		t.Conn = cc
		if asked {
			sources = append(sources, reflection.FromServer(cc, metadata.Join(t.header, reflectHeader)))
		}
	}
	if local != nil {
		sources = append(sources, reflection.FromSet(local))
	}
	t.Catalog = reflection.NewCatalog(sources...)
	return ctx, t, nil
}

// connector returns what connects to a server, after checking the flags for that; nil
// without a server. Where local files will do, an address to accept at must be typed: its
// variable may be set for other commands.
func (p *program) connector(c *cli.Context, t *target, where string, localDoes bool) (func(context.Context) (grpc.ClientConnInterface, error), error) {
	if where != "" && !isURL(where) {
		d, err := newPlain(c, t, where)
		switch {
		case err != nil:
			return nil, err
		case t.link != nil:
			return newKeptPlain(t, d, dialOptions(c)), nil
		}
		return d.connector(t, dialOptions(c)), nil
	}
	if where == "" && (c.String("accept") == "" || localDoes && !typed(c, "accept")) {
		return nil, nil //nolint:nilnil // no server, no error
	}
	if err := rejectFlags(c, "a plain server: for a WebSocket with TLS use wss://", "tls"); err != nil {
		return nil, err
	}
	if t.link != nil {
		return newKeptSessions(c, t, where)
	}
	return p.newSession(c, t, where)
}

// limit returns the context of all that the command does.
func (t *target) limit(c *cli.Context) (context.Context, error) {
	limit, err := parseMaxTime(c.String("max-time"))
	if err != nil || limit == 0 {
		return c.Context, err
	}
	ctx, cancel := context.WithTimeoutCause(c.Context, limit, &maxTimeError{netdiag.TimeoutError(limit)})
	t.cleanups = append(t.cleanups, cancel)
	return ctx, nil
}

func (t *target) close() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	t.cleanups = nil
}

// parseMaxTime reads seconds, as grpcurl's, or a duration. 0: no limit.
func parseMaxTime(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if seconds, ferr := strconv.ParseFloat(s, 64); ferr == nil && seconds < 1e9 {
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return 0, usagef("--max-time %q: want seconds or a duration such as 1m30s", s)
	}
	return d, nil
}

// maxTimeError reports that --max-time is over.
type maxTimeError struct{ netdiag.TimeoutError }

func (e *maxTimeError) Error() string {
	return fmt.Sprintf("not done within %v", time.Duration(e.TimeoutError))
}
func (*maxTimeError) hint() string { return "allow more with --max-time" }

// dialOptions are those of every connection.
func dialOptions(c *cli.Context) []grpc.DialOption {
	agent := strings.TrimSpace(c.String("user-agent") + " wstun/" + version())
	opts := append(call.DialOptions(), grpc.WithUserAgent(agent))
	if authority := c.String("authority"); authority != "" {
		opts = append(opts, grpc.WithAuthority(authority))
	}
	return opts
}

// grpcMetadata reads the 'name: value' lines of a flag. Binary values, those of names
// that end in -bin, are in base64, or as they stand if that is what they aren't.
func grpcMetadata(c *cli.Context, flag string) (metadata.MD, error) {
	lines, err := headerLines(c, flag)
	if err != nil {
		return nil, err
	}
	if _, err := parseHeaders("--"+flag, lines); err != nil {
		return nil, err
	}
	md := grpcurl.MetadataFromHeaders(lines)
	for name := range md {
		if call.SetByGRPC(name) {
			return nil, &usageError{err: fmt.Errorf("--%s %s: gRPC sets it", flag, name), hint: setByGRPCHints[name]}
		}
	}
	return md, nil
}

var setByGRPCHints = map[string]string{
	"grpc-timeout": "give the time with --max-time",
	"user-agent":   "put a text before it with --user-agent",
}
