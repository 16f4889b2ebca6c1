package commands

import (
	"context"
	"fmt"

	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/tunnel/escape"
)

const targetDescription = "TARGET is the URL of a WebSocket, to call through a session: ws://, wss://, http:// or\n" +
	"https://; a gRPC server's host:port, :port (loopback) or unix:PATH; or @NAME, see wstun config."

// openTarget opens the TARGET of a command that prints results.
func (p *program) openTarget(ctx context.Context, o *target.Options, log *logOptions) (context.Context, *target.Target, error) {
	p.pipes = true
	catchBrokenPipes() // otherwise SIGPIPE would end wstun before it closes the session
	var err error
	if o.Logger, err = p.newLogger(log); err != nil {
		return nil, nil, err
	}
	o.Version = version()
	o.Say = func(format string, args ...any) {
		fmt.Fprintln(p.stderr, "wstun: "+escape.Line(fmt.Sprintf(format, args...)))
	}
	return target.Open(ctx, o)
}
