package commands

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
)

// checkRetry refuses --retry for requests that can be sent only once: a stream from
// standard input. A value from the environment doesn't apply to them.
func (r *calling) checkRetry(data *requestData) error {
	if r.o.retry == 0 || !data.stdin || !r.method.IsStreamingClient() || r.o.repeat > 1 {
		return nil
	}
	if !r.p.given["retry"] {
		r.o.retry = 0
		return nil
	}
	return &usage.Error{
		Err:    errors.New("--retry with a stream of requests from standard input, which can be read only once"),
		Advice: "give the requests with -d, or -d @FILE",
	}
}

// resolve finds the method. It asks the server again as --retry says.
func (r *calling) resolve(ctx context.Context) (err error) {
	for n := 1; ; n++ {
		r.method, err = r.target.Method(ctx, r.o.method)
		if status.Code(err) != codes.Unavailable || !r.pause(ctx, n, status.Convert(err)) {
			return err
		}
	}
}

// invoke makes a call, again as --retry says. Only the last result is an event.
func (r *calling) invoke(ctx context.Context, data *requestData, types reflection.TypeResolver, events *call.Events) (*call.Result, error) {
	end := events.End
	events.End = nil
	for n := 1; ; n++ {
		requests, err := data.requests(ctx, r.method, types)
		if err != nil {
			return nil, err
		}
		result, err := call.Invoke(ctx, r.target.Conn, r.method, requests, &r.opts, events)
		if err != nil {
			return nil, data.explain(err)
		}
		if result.Unanswered() && r.pause(ctx, n, result.Status) {
			continue
		}
		if end != nil {
			end(ctx, result)
		}
		return result, nil
	}
}

// pause waits before the n-th retry, also for a connection that is down. It returns false
// if there are no more retries, or ctx has ended.
func (r *calling) pause(ctx context.Context, n int, s *status.Status) bool {
	if n > r.o.retry || ctx.Err() != nil {
		return false
	}
	in := tunnel.Backoff(n, 0).Round(time.Millisecond)
	r.o.target.Logger.Warn("no response: will retry", slog.Duration("in", in), slog.String("err", s.Message()))
	timer := time.NewTimer(in)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	_ = r.target.Ready(ctx) // if it is still down, the call returns the reason
	return ctx.Err() == nil
}
