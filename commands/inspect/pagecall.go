package inspect

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// maxMine is how many calls of the page may be open.
	maxMine = 100

	// maxQueued is how many messages of a call may wait to be sent.
	maxQueued = 1000
)

// pageCalls are the open calls of the page.
type pageCalls struct {
	mu      sync.Mutex
	byID    map[uint64]*pageCall
	started uint64 // so far
}

func (p *pageCalls) get(id uint64) *pageCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

func (p *pageCalls) remove(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, id)
}

// add adds an open call.
func (p *pageCalls) add(c *pageCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID == nil {
		p.byID = map[uint64]*pageCall{}
	}
	p.byID[c.id] = c
}

// next returns the number of the next call, 0 if too many are open.
func (p *pageCalls) next() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byID) >= maxMine {
		return 0
	}
	p.started++
	return p.started
}

// pageCall is a call of the page. It is the call.Requests of the call, and puts its events
// into the store.
type pageCall struct {
	handler *Handler
	id      uint64 // in the store
	method  *call.Method
	cancel  context.CancelFunc

	mu     sync.Mutex // guards:
	event  trace.Event
	seq    uint32
	queue  []protoreflect.ProtoMessage
	closed bool          // no more requests are queued
	wake   chan struct{} // has an element if there is a request, or closed is set
}

// begin puts the beginning of the call into the store.
func (c *pageCall) begin(number, session uint64, timeout time.Duration, md metadata.MD) {
	c.event = trace.Event{
		Session: session, Call: number, IsGRPC: true,
		Method: "/" + string(c.method.Parent().FullName()) + "/" + string(c.method.Name()),
	}
	c.id = c.put(trace.ClientHeader, func(e *trace.Event) { e.Timeout, e.Metadata = timeout, c.handler.fields(md) })
}

// put puts an event into the store.
func (c *pageCall) put(kind trace.Type, change func(*trace.Event)) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	e := c.event
	e.Type, e.Time, e.Seq, e.Code = kind, time.Now(), c.seq, trace.NoStatus
	if kind == trace.ServerHeader || kind == trace.ServerMessage || kind == trace.ServerTrailer {
		e.Side = trace.Server
	}
	change(&e)
	return c.handler.store.Add(&e, store.Page, nil)
}

// run makes the call.
func (c *pageCall) run(ctx context.Context, cc grpc.ClientConnInterface, md metadata.MD) {
	defer c.handler.mine.remove(c.id)
	defer c.cancel()
	events := &call.Events{Headers: c.headers, Message: c.message}
	result, err := call.Invoke(ctx, cc, c.method, c, &call.Options{Metadata: md}, events)
	c.put(trace.ServerTrailer, func(e *trace.Event) {
		if err != nil {
			e.Side, e.Code, e.Message = trace.Client, codes.Internal, err.Error()
			return
		}
		e.Code, e.Message, e.Metadata = result.Status.Code(), result.Status.Message(), c.handler.fields(result.Trailers)
		isDetail := func(f hpack.HeaderField) bool { return f.Name == recording.DetailsKey }
		if len(result.Status.Proto().GetDetails()) > 0 && !slices.ContainsFunc(e.Metadata, isDetail) {
			data, _ := proto.Marshal(result.Status.Proto()) // it has been decoded
			e.Metadata = append(e.Metadata, hpack.HeaderField{Name: recording.DetailsKey, Value: base64.RawStdEncoding.EncodeToString(data)})
		}
	})
}

func (c *pageCall) headers(md metadata.MD) {
	if md != nil {
		c.put(trace.ServerHeader, func(e *trace.Event) { e.Metadata = c.handler.fields(md) })
	}
}

func (c *pageCall) message(_ context.Context, r *call.Response) error {
	c.put(trace.ServerMessage, func(e *trace.Event) { e.Size, e.Data, e.Whole = int64(len(r.Data)), r.Data, true })
	return nil
}

// Next implements call.Requests.
func (c *pageCall) Next(ctx context.Context, m protoreflect.ProtoMessage) error {
	for {
		c.mu.Lock()
		var next protoreflect.ProtoMessage
		if len(c.queue) > 0 {
			next, c.queue = c.queue[0], c.queue[1:]
		}
		closed := c.closed
		c.mu.Unlock()
		switch {
		case next != nil:
			proto.Merge(m, next)
			c.sent(m)
			if !c.method.IsStreamingClient() {
				c.put(trace.ClientHalfClose, func(*trace.Event) {})
			}
			return nil
		case closed:
			if !c.method.IsStreamingClient() {
				c.sent(m) // Invoke sends an empty message
			}
			c.put(trace.ClientHalfClose, func(*trace.Event) {})
			return io.EOF
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sent puts a request into the store.
func (c *pageCall) sent(m protoreflect.ProtoMessage) {
	data, err := proto.Marshal(m)
	if err != nil {
		return // Invoke reports it
	}
	c.put(trace.ClientMessage, func(e *trace.Event) { e.Size, e.Data, e.Whole = int64(len(data)), data, true })
}

// More implements call.Requests.
func (c *pageCall) More() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) > 0
}

// send queues messages. end says that they are the last.
func (c *pageCall) send(messages []protoreflect.ProtoMessage, end bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed && (len(messages) > 0 || !end):
		return errors.New("the requests have ended")
	case len(c.queue)+len(messages) > maxQueued:
		return fmt.Errorf("%d messages wait to be sent", len(c.queue))
	}
	c.queue, c.closed = append(c.queue, messages...), c.closed || end
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// parseMessages parses messages in JSON.
func parseMessages(ctx context.Context, m *call.Method, texts [][]byte) (messages []protoreflect.ProtoMessage, err error) {
	types := m.Types(ctx)
	for i, text := range texts {
		parsed := dynamicpb.NewMessage(m.Input())
		if err := call.NewRequests(bytes.NewReader(text), message.JSON, types, nil).Next(ctx, parsed); err != nil {
			if re, ok := errors.AsType[*call.RequestError](err); ok {
				err = re.Err
			}
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		messages = append(messages, parsed)
	}
	return messages, nil
}

// fields returns md as a trace has it, without secret values.
func (h *Handler) fields(md metadata.MD) []hpack.HeaderField {
	var fields []hpack.HeaderField
	for name, values := range md {
		for _, value := range values {
			switch {
			case name == recording.DetailsKey:
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			case h.isSecret(name):
				value = trace.Redacted
			case strings.HasSuffix(name, "-bin"):
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			fields = append(fields, hpack.HeaderField{Name: name, Value: value})
		}
	}
	slices.SortStableFunc(fields, func(a, b hpack.HeaderField) int { return strings.Compare(a.Name, b.Name) })
	return fields
}
