package commands

import (
	"context"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/inspect"
	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/mux"
)

// pageOptions are the values of the flags for the page of a running command.
type pageOptions struct {
	messages bool
	memory   int64
	calls    bool
}

// memoryFlag returns the flag for the memory of a page.
func (o *pageOptions) memoryFlag() cli.Flag {
	return usage.Size(&o.memory, "admin-memory", "keep calls and messages for the page in up to `SIZE` of memory", store.DefaultMemory)
}

func (o *pageOptions) flags() []cli.Flag {
	return []cli.Flag{
		usage.Bool(&o.messages, "admin-messages", "keep calls and messages for the page of --admin and wstun inspect"),
		o.memoryFlag(),
	}
}

// callFlags returns the flags of a command whose page can make calls.
func (o *pageOptions) callFlags() []cli.Flag {
	return []cli.Flag{usage.Bool(&o.calls, "admin-calls", "let the page make calls, and make recorded ones again")}
}

func (o *pageOptions) check(given usage.Given) error {
	if o.messages {
		return o.checkMemory()
	}
	return given.Reject("--admin-messages", "admin-memory", "admin-calls")
}

func (o *pageOptions) checkMemory() error {
	const least = 1 << 20
	if o.memory < least {
		return usage.Errorf("--admin-memory %s: want at least 1MiB", usage.FormatSize(o.memory))
	}
	return nil
}

// limitGarbage makes the garbage collector run more often than by default, at which garbage
// takes as much memory as the page. The user's GOGC wins.
func (o *pageOptions) limitGarbage() {
	const garbage, least = 16 << 20, 25 // bytes, and percent of the other memory
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(int(max(least, min(100, 100*garbage/o.memory))))
	}
}

// page is the page of a running command. Nil does nothing.
type page struct {
	handler *inspect.Handler
	sampler *inspect.Sampler
	detach  func()
}

// startPage starts the page of a command, nil without --admin-messages. opts has the
// Catalog, Learned and Conn of the command.
func (p *program) startPage(o *adminOptions, out *output, redact []string, tokenHeader string, traced *tracing.Tracing, opts *inspect.Options) (*page, error) {
	if !o.page.messages {
		return nil, nil //nolint:nilnil // no page, no error
	}
	o.page.limitGarbage()
	m := out.monitor
	pg := &page{sampler: inspect.NewSampler(m.Sessions)}
	opts.Store.Memory, opts.Version, opts.Role = o.page.memory, m.Info.Version, m.Info.Command
	opts.Secrets, opts.Redact, opts.Sessions = &p.secrets, redact, pg.sampler.Sessions
	opts.IsSecret = func(name string) bool { return strings.EqualFold(name, tokenHeader) }
	opts.Addresses = func() []string { return m.Status().Addresses }
	pg.handler = inspect.New(opts)
	var err error
	if pg.detach, err = traced.Tracer().Attach(pg.handler.Output()); err != nil {
		pg.handler.Close()
		pg.sampler.Close()
		return nil, err
	}
	return pg, nil
}

// forget makes the page ask for the types of messages again.
func (pg *page) forget() {
	if pg != nil {
		pg.handler.Forget()
	}
}

// web returns the handler of the page, nil without one.
func (pg *page) web() http.Handler {
	if pg == nil {
		return nil
	}
	return pg.handler
}

func (pg *page) close() {
	if pg != nil {
		pg.detach()
		pg.handler.Close()
		pg.sampler.Close()
	}
}

// sessionConns are the connections of a page for calls in sessions. Their streams aren't
// traced: the page knows its own calls.
type sessionConns struct {
	sessions *tunnel.Sessions

	mu    sync.Mutex
	conns map[*tunnel.Session]*grpc.ClientConn
}

// dialUntraced returns a client in s whose calls aren't traced. The caller closes it.
func dialUntraced(s *tunnel.Session, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return s.DialGRPC(append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return s.Connect(mux.Unobserved(ctx))
	}))...)
}

func newSessionConns(sessions *tunnel.Sessions) *sessionConns {
	c := &sessionConns{sessions: sessions, conns: map[*tunnel.Session]*grpc.ClientConn{}}
	sessions.Subscribe(tunnel.Subscriber{Down: func(s *tunnel.Session, _ error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if cc := c.conns[s]; cc != nil {
			delete(c.conns, s)
			_ = cc.Close()
		}
	}})
	return c
}

// conn returns a connection in the session with this number; 0: in the newest one.
func (c *sessionConns) conn(number uint64) (grpc.ClientConnInterface, error) {
	s, err := c.session(number)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cc := c.conns[s]; cc != nil {
		return cc, nil
	}
	if err := s.Err(); err != nil { // otherwise Down may be over
		return nil, err
	}
	cc, err := dialUntraced(s, call.DialOptions()...)
	if err != nil {
		return nil, err
	}
	c.conns[s] = cc
	return cc, nil
}

func (c *sessionConns) session(number uint64) (*tunnel.Session, error) {
	if number == 0 {
		none, cancel := context.WithCancel(context.Background())
		cancel() // Wait doesn't wait
		return c.sessions.Wait(none)
	}
	for _, s := range c.sessions.Snapshot() {
		if s.ID == number {
			return s, nil
		}
	}
	return nil, tunnel.ErrNoSession
}
