package stub

import (
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A playback answers one call from recorded ones.
type playback struct {
	recorded *recorded
	stream   grpc.ServerStream
	calls    []*recordedCall // those with the requests so far; never empty
	opened   bool            // the headers are sent

	current *recordedCall // has answered so far; nil: none has
	isFirst bool          // it hadn't answered before
}

// serveRecorded serves any RPC from recorded calls.
func (s *Stub) serveRecorded(m *method, stream grpc.ServerStream) error {
	p := &playback{recorded: m.recorded, stream: stream, calls: m.recorded.calls}
	if m.desc.IsStreamingClient() {
		return s.serveRecordedRequests(m, p)
	}
	req, err := receive(m, stream)
	if err != nil {
		return err
	}
	if err := p.request(m, 0, req); err != nil {
		return err
	}
	return s.finish(p, 0)
}

// serveRecordedRequests serves an RPC whose client streams.
func (s *Stub) serveRecordedRequests(m *method, p *playback) error {
	next := func() (*dynamicpb.Message, error) { return receive(m, p.stream) }
	if m.desc.IsStreamingServer() {
		requests := receiveRequests(m, p.stream)
		next = func() (*dynamicpb.Message, error) { return s.next(p.stream.Context(), requests) }
	}
	for n := 0; ; n++ {
		if ended, err := p.play(n, false); ended {
			return err
		}
		req, err := next()
		if errors.Is(err, io.EOF) {
			if err := p.halfClose(m, n); err != nil {
				return err
			}
			if !p.calls[0].halfClosed {
				return s.waitEnd(p.stream.Context())
			}
			return s.finish(p, n+1)
		}
		if err != nil {
			return err
		}
		if err := p.request(m, n, req); err != nil {
			return err
		}
	}
}

// finish sends the last part of a call, and waits if it doesn't end then.
func (s *Stub) finish(p *playback, part int) error {
	if ended, err := p.play(part, true); ended {
		return err
	}
	return s.waitEnd(p.stream.Context())
}

// request keeps the calls in which got is the request after n others.
func (p *playback) request(m *method, n int, got *dynamicpb.Message) error {
	calls := p.recorded.matching(p.calls, n, m.keys(got))
	if len(calls) == 0 {
		return m.miss(p.calls, n, got)
	}
	p.calls = calls
	return nil
}

// halfClose keeps the calls that have n requests: those with a half-close, if there are any.
func (p *playback) halfClose(m *method, n int) error {
	var closed, open []*recordedCall
	for _, c := range p.calls {
		switch {
		case len(c.requests) != n:
		case c.halfClosed:
			closed = append(closed, c)
		default:
			open = append(open, c)
		}
	}
	switch {
	case len(closed) > 0:
		p.calls = closed
	case len(open) > 0:
		p.calls = open
	default:
		return m.missHalfClose(p.calls[0], n)
	}
	return nil
}

// play sends a part of the responses. It reports whether the call has ended, with err.
func (p *playback) play(index int, last bool) (ended bool, err error) {
	now := &p.choose(index, last).parts[index]
	headers := now.headers
	if p.opened {
		headers = nil
	}
	p.opened = p.opened || headers != nil || len(now.replies) > 0
	if now.ends {
		p.stream.SetTrailer(now.trailers)
	}
	err = now.send(p.stream, headers)
	return now.ends || err != nil, err
}

// choose returns the call that sends its part with this index: the current one as long as it
// has the requests, or the next one. That becomes the current one if it is the last part, or
// one of the calls sends a message or ends: until then, requests may decide.
func (p *playback) choose(index int, last bool) *recordedCall {
	p.recorded.mu.Lock()
	defer p.recorded.mu.Unlock()
	if p.current != nil {
		if slices.Contains(p.calls, p.current) {
			return p.current
		}
		if p.isFirst {
			p.current.used = false // it can answer another call
		}
		p.current = nil
	}
	chosen, isFirst := p.calls[len(p.calls)-1], false
	if i := slices.IndexFunc(p.calls, func(c *recordedCall) bool { return !c.used }); i >= 0 {
		chosen, isFirst = p.calls[i], true
	}
	if last || slices.ContainsFunc(p.calls, func(c *recordedCall) bool { return c.parts[index].sends() }) {
		chosen.used, p.current, p.isFirst = true, chosen, isFirst
	}
	return chosen
}
