// Package target connects to the gRPC server of a TARGET: a plain one, or the one at the
// other end of a session. It finds descriptors by reflection or in local files.
//
//	var opts target.Options
//	flags := opts.Flags()
//	…
//	ctx, t, err := target.Open(ctx, &opts)
//	defer t.Close()
//	services, err := t.Catalog.Services(ctx)
package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// Options are the values of the flags, and the parameters that the command adds.
type Options struct {
	Addr     string // the TARGET; empty: wait with --accept, or use local descriptors only
	Given    usage.Given
	Endpoint endpoint.Options

	UseTLS, Plaintext    bool
	Unix                 bool // Addr is unix:PATH, from a TARGET without unix:
	Authority, UserAgent string
	ReflectHeader        []string
	Descriptors          backend.Descriptors
	UseReflection        bool
	MaxTime              time.Duration // 0: no limit
	Trace                tracing.Options

	// Known is asked for descriptors before the server and the local files. Default: nil, nothing is known.
	Known reflection.Finder

	// Calls says that the command makes calls, for which it needs a server even with
	// local descriptors.
	Calls bool

	// Reconnect keeps the connection up until Close. Calls fail with UNAVAILABLE and the
	// reason while it is down.
	Reconnect bool
	Fail      func(error)   // called when there will be no more sessions; nil: ignored
	Wait      time.Duration // limit of Target.Ready

	TraceOutput *tracing.Output // Open sets its Catalog and Token; nil: the command has no trace

	Version string                           // of wstun, for the user agent
	Logger  *slog.Logger                     // must be set
	Say     func(format string, args ...any) // prints a line for the user
}

// Flags returns the flags of commands with a TARGET.
func (o *Options) Flags() []cli.Flag {
	return slices.Concat(
		[]cli.Flag{usage.Strings(&o.Endpoint.Header, "header", "send the header `'Name: value'` with the handshake, or as metadata to a plain server; repeatable", "H")},
		o.Endpoint.ConnectFlags(),
		o.Endpoint.EngineerFlags(),
		[]cli.Flag{
			usage.Bool(&o.UseTLS, "tls", "speak TLS to a plain server"),
			usage.Bool(&o.Plaintext, "plaintext", "speak without TLS, which is the default; as for grpcurl"),
			usage.Bool(&o.Unix, "unix", "take TARGET for the PATH of a unix socket, as for grpcurl; or unix:PATH"),
			usage.String(&o.Authority, "authority", "call with the authority `NAME` (default: a plain server's address, localhost in a session)", ""),
			usage.String(&o.UserAgent, "user-agent", "put `TEXT` before the user agent of the requests", ""),
			usage.Strings(&o.ReflectHeader, "reflect-header", "send the metadata `'name: value'` when asking for reflection; repeatable"),
			usage.Strings(&o.Descriptors.Protos, "proto", "take descriptors from the source `FILE`, not from the server; repeatable"),
			usage.Strings(&o.Descriptors.ImportPaths, "import-path", "look for --proto files and their imports in `DIR`; repeatable (default: the current folder)"),
			usage.Strings(&o.Descriptors.Protosets, "protoset", "take descriptors from the compiled `FILE`, not from the server; repeatable"),
			usage.Bool(&o.UseReflection, "use-reflection", "ask the server as well as --proto or --protoset; =false: never"),
			usage.Seconds(&o.MaxTime, "max-time", "give up after `TIME`, in seconds or as 1m30s (default: never)", 0),
		})
}

// Target is a server and its descriptors, or only the descriptors in local files. Conn
// is nil without a server.
type Target struct {
	call.Target
	Header     metadata.MD   // for each call
	Connecting time.Duration // the time that it took to connect

	client   *client  // nil without a server
	cleanups []func() // called by Close, the last one first
}

// Open connects to the server, if the command needs one, and blocks until the server
// answers or connecting fails. With --accept only ctx and --max-time limit the wait for a
// session. The returned context ends after --max-time.
//
// The error is a *usage.Error for wrong flags, ErrNoTarget for a missing server, or the
// reason why connecting failed. The caller closes the target.
func Open(ctx context.Context, o *Options) (_ context.Context, _ *Target, err error) {
	t := &Target{}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if o.Authority, err = outbound.ASCIIHost(o.Authority); err != nil {
		return nil, nil, usage.Errorf("--authority %w", err)
	}
	local, err := o.Descriptors.Load()
	if err != nil {
		return nil, nil, err
	}
	c, err := t.newClient(ctx, o, local != nil && !o.Calls)
	if err != nil {
		return nil, nil, err
	}
	if c != nil {
		t.cleanups = append(t.cleanups, c.close)
	}
	useReflection := local == nil && c != nil || o.UseReflection
	switch {
	case o.Given.Set("use-reflection") && !o.UseReflection && local == nil:
		return nil, nil, usage.Errorf("--use-reflection=false without --proto or --protoset: there would be no descriptors")
	case c == nil && (local == nil || useReflection):
		return nil, nil, ErrNoTarget
	case !useReflection && o.Given["reflect-header"]:
		return nil, nil, &usage.Error{Err: errors.New("--reflect-header without reflection: descriptors are those of --proto or --protoset"), Advice: "ask the server as well, with --use-reflection"}
	}
	for name, value := range map[string]string{"authority": o.Authority, "user-agent": o.UserAgent} {
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, nil, usage.Errorf("--%s %q: want a text without control characters", name, value)
		}
	}
	reflectHeader, err := endpoint.Metadata("reflect-header", o.ReflectHeader, o.Endpoint.ExpandHeaders, o.Endpoint.Secrets)
	if err != nil {
		return nil, nil, err
	}
	if err := usage.NotNegative("max-time", o.MaxTime); err != nil {
		return nil, nil, err
	}
	if o.MaxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.MaxTime, &maxTimeError{netdiag.TimeoutError(o.MaxTime)})
		t.cleanups = append(t.cleanups, cancel)
	}
	var sources []reflection.Finder
	if o.Known != nil {
		sources = append(sources, o.Known)
	}
	if c != nil && useReflection {
		sources = append(sources, reflection.FromServer(c, metadata.Join(t.Header, reflectHeader)))
	}
	if local != nil {
		sources = append(sources, reflection.FromSet(local))
	}
	t.Catalog = reflection.NewCatalog(sources...)
	if err := t.startTrace(ctx, o, c); err != nil {
		return nil, nil, err
	}
	if c != nil && (useReflection || o.Calls) {
		started := time.Now()
		if err := c.connect(ctx); err != nil {
			return nil, nil, err
		}
		t.Connecting = time.Since(started)
		t.client, t.Conn = c, c
	}
	return ctx, t, nil
}

// startTrace starts the trace that the flags ask for. The catalog finds its messages.
func (t *Target) startTrace(ctx context.Context, o *Options, c *client) error {
	if o.TraceOutput == nil {
		return nil
	}
	out := *o.TraceOutput
	out.Catalog, out.Token, out.Logger = t.Catalog, o.Endpoint.TokenHeader, o.Logger
	o.Trace.Given = o.Given
	traced, err := o.Trace.Start(ctx, &out)
	if err != nil || traced == nil {
		return err
	}
	t.cleanups = slices.Insert(t.cleanups, 0, traced.Close) // after the sessions
	if c == nil {
		return ErrNoTarget
	}
	s, ok := c.transport.(*sessions)
	switch {
	case !ok && !o.Trace.Asked():
		return nil // the variables are meant for sessions
	case !ok:
		return &usage.Error{
			Err:    fmt.Errorf("%s is a plain gRPC server, and only sessions are traced", o.Addr),
			Advice: "give the URL of a WebSocket; wstun serve --trace --upstream " + o.Addr + " makes one",
		}
	}
	s.traced = traced
	s.endpoint.Observe(traced.Observe())
	return nil
}

// ErrNoTarget is the *usage.Error for a command line without a server.
var ErrNoTarget error = &usage.Error{Err: errors.New("no TARGET"), Advice: NoTargetAdvice}

// NoTargetAdvice is the advice to a user who gave no server.
const NoTargetAdvice = "give the URL of a WebSocket, or host:port of a gRPC server; or wait for a WebSocket with --accept"

// newClient checks the flags for the server, sets t.Header, and returns a client that
// isn't connected yet; nil without a server. If local files suffice, it ignores an
// --accept from the environment, which may be meant for other commands.
func (t *Target) newClient(ctx context.Context, o *Options, localSuffices bool) (*client, error) {
	c := &client{wait: o.Wait, reconnect: o.Reconnect, say: o.Say}
	err := o.resolveTLS()
	switch {
	case err != nil:
		return nil, err
	case o.Addr != "" && !IsURL(o.Addr):
		c.transport, t.Header, err = newPlain(ctx, o, c)
		return c, err
	case o.Addr == "" && (o.Endpoint.Accept == "" || localSuffices && !o.Given["accept"]):
		return nil, nil //nolint:nilnil // no server, no error
	}
	if err := o.Given.Reject("a plain server: for a WebSocket with TLS use wss://", "tls"); err != nil {
		return nil, err
	}
	if err := o.Given.Reject("a plain server: a WebSocket at a unix socket is reached through a reverse proxy", "unix"); err != nil {
		return nil, err
	}
	c.transport, err = newSessions(ctx, o, c)
	return c, err
}

// Close closes the connection and the sessions. It may be called more than once, but not
// concurrently.
func (t *Target) Close() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	t.cleanups = nil
}

// Ready waits until the server can be called, for at most Options.Wait. The error is the
// reason why it can't be called. The target must have a server.
func (t *Target) Ready(ctx context.Context) error { return t.client.ready(ctx) }

// OnReconnect sets a function that is called after each reconnection. f must not block.
// The target must have a server.
func (t *Target) OnReconnect(f func()) { t.client.setOnUp(f) }

// IsTarget reports whether arg is a TARGET and not a symbol: URLs and addresses contain a
// colon, and named targets begin with @.
func IsTarget(arg string) bool { return strings.Contains(arg, ":") || strings.HasPrefix(arg, "@") }

// IsURL reports whether target is the URL of a WebSocket and not the address of a gRPC
// server, such as unix:///PATH.
func IsURL(target string) bool {
	return strings.Contains(target, "://") && !strings.HasPrefix(target, "unix:") && !strings.HasPrefix(target, "unix-abstract:")
}

// CheckHint returns a hint to run wstun check; empty if remote isn't a URL.
func CheckHint(remote string) string {
	if !IsURL(remote) {
		return ""
	}
	return "wstun check " + remote + " tells which layer is broken"
}

// maxTimeError is the cause of a context that ended after --max-time.
type maxTimeError struct{ netdiag.TimeoutError }

func (e *maxTimeError) Error() string {
	return fmt.Sprintf("not done within %v", time.Duration(e.TimeoutError))
}

func (*maxTimeError) Hint() string { return "allow more time with --max-time" }

// dialOptions returns the options of every gRPC connection.
func (o *Options) dialOptions() []grpc.DialOption {
	agent := strings.TrimSpace(o.UserAgent + " wstun/" + o.Version)
	opts := append(call.DialOptions(), grpc.WithUserAgent(agent))
	if o.Authority != "" {
		opts = append(opts, grpc.WithAuthority(o.Authority))
	}
	return opts
}

// sessionError reports that no gRPC server answers in a session that is up.
type sessionError struct {
	remote  string
	roleSet bool // --yamux-role is given
	err     error
}

func (e *sessionError) Error() string {
	return fmt.Sprintf("no gRPC server answers in the session with %s: %v", e.remote, e.err)
}

func (e *sessionError) Unwrap() error { return e.err }

func (e *sessionError) Hint() string {
	advice := "is the peer the gRPC server end, such as wstun serve? "
	if e.roleSet {
		advice += "Is it in the other yamux role than that of --yamux-role?"
	} else {
		advice += "If its yamux role is client, use --yamux-role server"
	}
	if check := CheckHint(e.remote); check != "" {
		advice += "; " + check
	}
	return advice
}

// endedError reports that a session ended before a gRPC server answered in it.
type endedError struct {
	remote string
	err    error
}

func (e *endedError) Error() string { return fmt.Sprintf("session with %s ended: %v", e.remote, e.err) }
func (e *endedError) Unwrap() error { return e.err }

func (e *endedError) Hint() string {
	return cmp.Or(CheckHint(e.remote), "see the peer's log: the peer ended the session, or a proxy in between did")
}

// noSessionAt returns the error for ending before a session was accepted at url. It wraps
// tunnel.ErrNoSession and ctx's cause.
func noSessionAt(ctx context.Context, url string) error {
	return fmt.Errorf("%w accepted at %s: %w", tunnel.ErrNoSession, url, context.Cause(ctx))
}
