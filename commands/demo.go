package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) demoCommand() *cli.Command {
	o := &demoOptions{}
	return &cli.Command{
		Name:      "demo",
		Usage:     "a Hub, a Worker and a tunnel in one process, to try it out",
		UsageText: "wstun demo [flags]",
		Description: "Runs serve and dial on loopback, calls through them, prints commands to try, and stays up\n" +
			"until stopped. With --relay, three workers and an engineer meet at a relay.",
		Flags: []cli.Flag{
			usage.String(&o.listen, "listen", "listen for gRPC clients at `ADDR`", "127.0.0.1:0"),
			usage.Bool(&o.once, "once", "end after the calls"),
			usage.Bool(&o.relay, "relay", "run a relay with three workers, and an engineer who reaches one of them"),
		},
		Action: action(p, o, p.demo),
	}
}

// demoOptions are the values of the command line of wstun demo.
type demoOptions struct {
	listen string
	once   bool
	relay  bool
}

func (o *demoOptions) parse(in *invocation) error {
	_, err := in.arguments(0)
	return err
}

func (p *program) demo(ctx context.Context, o *demoOptions) error {
	out, err := p.newOutput("demo", &outputOptions{log: logOptions{level: "warn"}, format: "text"})
	if err != nil {
		return err
	}
	workerSessions := out.newSessions()
	traced, err := p.startTrace(ctx, &tracing.Options{}, out, "", &sessionFinder{workerSessions}) // for wstun trace --attach
	if err != nil {
		return err
	}
	defer traced.Close() //nolint:contextcheck // ctx has ended then
	websockets, err := endpoint.Listen(ctx, "--accept", "127.0.0.1:0")
	if err != nil {
		return err
	}
	local, err := endpoint.Listen(ctx, "--listen", o.listen)
	if err != nil {
		_ = websockets.Close()
		return err
	}
	url := "ws://" + endpoint.Addr(websockets) + "/"
	if o.relay {
		return p.demoRelay(ctx, o, websockets, local, url)
	}

	// The Hub's side: accepts the WebSocket, serves gRPC.
	hub := backend.NewDemo(limit.New(nil)) //nolint:contextcheck // making descriptors isn't interrupted
	hubSessions := &tunnel.Sessions{}
	hubSessions.Subscribe(tunnel.Subscriber{Up: hub.ServeStreams})
	acceptor := tunnel.NewAcceptor(hubSessions, tunnel.AcceptOptions{
		LoopbackHost: true,
		Session:      tunnel.SessionOptions{Role: wsmux.Server},
	})
	// The Worker's side: dials the WebSocket, calls gRPC.
	forwarder := &forward.Forwarder{Sessions: workerSessions, Trace: traced.Tracer()}
	connector := &tunnel.Connector{URL: url, Sessions: workerSessions, MaxRetries: -1}

	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { _ = acceptor.Serve(websockets) })
	wg.Go(func() { _ = forwarder.Serve(local) }) //nolint:contextcheck // Shutdown ends it
	wg.Go(func() { _ = connector.Run(running) })

	m := out.monitor
	m.Listening(endpoint.Addr(local))
	m.SetUsable(url)
	m.Calls, m.Ended, m.Lost = forwarder.Calls, forwarder.Ended(), traced.Lost
	answers, err := p.startAdmin(ctx, &adminOptions{}, &admin.Admin{Attach: traced.Attach, Reconnect: forwarder.Reconnect}, out)
	if err == nil {
		defer answers.close(ctx)
		fmt.Fprintf(p.stdout, "Hub at %s, gRPC through the tunnel at %s\n", url, endpoint.Addr(local))
		err = p.runDemo(ctx, o, local, func() { p.printExamples(url, endpoint.Addr(local)) })
	}
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = errors.Join(err, forwarder.Shutdown(ending), workerSessions.Shutdown(ending),
		acceptor.Shutdown(ending), hub.Shutdown(ending, hubSessions))
	wg.Wait()
	return err
}

// runDemo calls the Hub through the tunnel, calls examples, which prints commands to try, and
// waits until ctx ends.
func (p *program) runDemo(ctx context.Context, o *demoOptions, local net.Listener, examples func()) error {
	err := p.showDemo(ctx, local)
	if err == nil {
		examples()
	}
	if err == nil && !o.once {
		fmt.Fprint(p.stdout, "\nThe tunnel stays up until Ctrl-C.\n")
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = nil // stopped
	}
	return err
}

// showDemo calls the Hub through the tunnel and prints the responses.
func (p *program) showDemo(ctx context.Context, local net.Listener) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	target := endpoint.Addr(local)
	if local.Addr().Network() == "tcp" {
		target = "passthrough:///" + target
	}
	cc, err := grpc.NewClient(target, wsmux.ClientOptions(insecure.NewCredentials(), nil)...)
	if err != nil {
		return err
	}
	defer cc.Close()

	services, err := reflection.FromServer(cc, nil).Services(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\nlist\n  %s\n", strings.Join(services, "\n  "))

	hub := demo.NewHubClient(cc)
	watch, err := hub.WatchKeys(ctx, &demo.WatchKeysRequest{MaxEvents: 2})
	if err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	fmt.Fprint(p.stdout, "\nWatchKeys, a stream that starts with a snapshot\n")
	for events := 0; ; events++ {
		event, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break // after the last event
		}
		if err != nil {
			return fmt.Errorf("watch keys: %w", err)
		}
		fmt.Fprintf(p.stdout, "  event: %s\n", describeEvent(event))
		switch events {
		case 0:
			key, err := hub.CreateKey(ctx, &demo.CreateKeyRequest{Name: "my-worker"})
			if err != nil {
				return fmt.Errorf("create key: %w", err)
			}
			fmt.Fprintf(p.stdout, "  CreateKey: name %q, secret of %d characters\n", key.GetName(), len(key.GetSecret()))
		case 1:
			if _, err := hub.DeleteKey(ctx, &demo.DeleteKeyRequest{Name: "my-worker"}); err != nil {
				return fmt.Errorf("delete key: %w", err)
			}
			fmt.Fprint(p.stdout, "  DeleteKey: done\n")
		}
	}
	return nil
}

func describeEvent(e *demo.KeyEvent) string {
	switch e := e.GetEvent().(type) {
	case *demo.KeyEvent_Snapshot:
		return fmt.Sprintf("snapshot of %d keys", len(e.Snapshot.GetKeys()))
	case *demo.KeyEvent_Created:
		return fmt.Sprintf("created %q", e.Created.GetName())
	case *demo.KeyEvent_Deleted:
		return fmt.Sprintf("deleted %q", e.Deleted)
	}
	return "tick"
}

// printExamples prints commands to try.
func (p *program) printExamples(url, addr string) {
	attach := fmt.Sprintf("--attach %d", os.Getpid())
	fmt.Fprint(p.stdout, "\nTry in other terminals\n")
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"wstun check " + url, "probe each layer"},
		{"wstun shell " + url, "make calls from a prompt"},
		{"wstun status", "sessions and open calls"},
		{"wstun trace " + attach + " --trace-messages", "follow the calls through the tunnel …"},
		{"wstun inspect " + attach + " --open", "… or in a browser"},
		{"wstun call " + addr + " CreateKey '{\"name\":\"k1\"}'", "such as this one"},
		{"grpcurl -plaintext " + addr + " list", "or go tool grpcurl, in a clone"},
	} {
		fmt.Fprintf(w, "  %s\t# %s\n", line[0], line[1])
	}
	_ = w.Flush() // stdout reports its errors itself
}
