// Package demo is a gRPC server for trying out a tunnel: an in-memory Hub that
// has every kind of RPC, rich errors, a 5 MiB message and a Watch that starts
// with a snapshot. hub.proto documents each RPC.
//
//	hub := demo.New()
//	server := grpc.NewServer()
//	hub.Register(server)
//	go server.Serve(listener)
//	...
//	hub.Close() // otherwise GracefulStop waits for each Watch
//	server.GracefulStop()
//
// A Hub starts no goroutines and needs no cleanup. It may be registered with
// several servers, which then share its keys. All of its methods may be called
// concurrently.
//
// A Hub doesn't authenticate clients. It bounds the memory of each call; the
// server must bound the number of calls.
package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate ../.. --path .

// The limits that hub.proto documents. A snapshot of maxKeys keys with names of
// maxName bytes stays below the 4 MiB that any gRPC client accepts.
const (
	maxKeys    = 10_000
	maxName    = 128
	maxPending = 256
	maxSleep   = time.Minute
	minTick    = time.Millisecond
)

// A Hub implements [HubServer]. Make one with [New].
type Hub struct {
	templates func() *TemplateSnapshot

	mu       sync.Mutex
	keys     map[string]*Key // by name, without secrets; a Key is immutable
	watchers map[*watcher]struct{}
	closed   bool
}

// A watcher is the Hub's end of one Watch.
type watcher struct {
	events chan *KeyEvent // closed when the Hub ends the Watch
	err    error          // why it did; set before events is closed
}

// New returns a Hub without keys.
func New() *Hub {
	return &Hub{
		templates: sync.OnceValue(newTemplates),
		keys:      make(map[string]*Key),
		watchers:  make(map[*watcher]struct{}),
	}
}

// Register adds the Hub's service to s.
func (h *Hub) Register(s grpc.ServiceRegistrar) { RegisterHubServer(s, h) }

// Close ends every Watch with UNAVAILABLE and refuses new ones. It has no effect
// on other calls, which end by themselves. Close doesn't block: a Watch first
// sends its pending events, for as long as its client takes to read them. Closing
// again does nothing.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.end(w, errClosed())
	}
}

func errClosed() error {
	return status.Error(codes.Unavailable, "the demo Hub is shutting down")
}

// CreateKey implements [HubServer].
func (h *Hub) CreateKey(_ context.Context, req *CreateKeyRequest) (*Key, error) {
	if err := checkName(req.Name); err != nil {
		return nil, err
	}
	var secret [16]byte
	rand.Read(secret[:]) // never fails

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[req.Name] != nil {
		return nil, keyError(codes.AlreadyExists, req.Name, "already exists")
	}
	if len(h.keys) >= maxKeys {
		return nil, status.Errorf(codes.ResourceExhausted, "there are %d keys already", maxKeys)
	}
	key := &Key{Name: req.Name, CreateTime: timestamppb.Now()}
	h.keys[key.Name] = key
	h.publish(&KeyEvent{Event: &KeyEvent_Created{Created: key}})
	return &Key{Name: key.Name, Secret: hex.EncodeToString(secret[:]), CreateTime: key.CreateTime}, nil
}

// DeleteKey implements [HubServer].
func (h *Hub) DeleteKey(_ context.Context, req *DeleteKeyRequest) (*emptypb.Empty, error) {
	if err := checkName(req.Name); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[req.Name] == nil {
		return nil, keyError(codes.NotFound, req.Name, "does not exist")
	}
	delete(h.keys, req.Name)
	h.publish(&KeyEvent{Event: &KeyEvent_Deleted{Deleted: req.Name}})
	return &emptypb.Empty{}, nil
}

// GetTemplates implements [HubServer].
func (h *Hub) GetTemplates(context.Context, *GetTemplatesRequest) (*TemplateSnapshot, error) {
	return h.templates(), nil
}

// newTemplates makes 64 templates of 2048 lines of 40 bytes: 5 MiB. No two
// lines are the same, so tests detect lost or reordered lines.
func newTemplates() *TemplateSnapshot {
	s := new(TemplateSnapshot)
	for i := range 64 {
		name := fmt.Sprintf("template-%02d", i)
		var body strings.Builder
		for line := range 2048 {
			fmt.Fprintf(&body, "%s line %04d: Hello {{.Name}}!\n", name, line)
		}
		s.Templates = append(s.Templates, &Template{Name: name, Body: body.String()})
	}
	return s
}

// WatchKeys implements [HubServer].
func (h *Hub) WatchKeys(req *WatchKeysRequest, stream grpc.ServerStreamingServer[KeyEvent]) error {
	var ticks <-chan time.Time
	if req.Tick != nil {
		tick := req.Tick.AsDuration()
		if tick < minTick {
			return invalid("tick", fmt.Sprintf("must be at least %v, not %v", minTick, tick))
		}
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		ticks = ticker.C
	}
	snapshot, w, err := h.watch()
	if err != nil {
		return err
	}
	defer h.unwatch(w)
	if err := stream.Send(&KeyEvent{Event: &KeyEvent_Snapshot{Snapshot: snapshot}}); err != nil {
		return err
	}
	for n := uint32(0); req.MaxEvents == 0 || n < req.MaxEvents; n++ {
		var event *KeyEvent
		select {
		case event = <-w.events:
			if event == nil {
				return w.err
			}
		case t := <-ticks:
			event = &KeyEvent{Event: &KeyEvent_Tick{Tick: timestamppb.New(t)}}
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	return nil
}

// watch takes a snapshot and adds a watcher in one step, so each change is either
// in the snapshot or sent to the watcher.
func (h *Hub) watch() (*KeySnapshot, *watcher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, errClosed()
	}
	keys := slices.SortedFunc(maps.Values(h.keys), func(a, b *Key) int { return cmp.Compare(a.Name, b.Name) })
	w := &watcher{events: make(chan *KeyEvent, maxPending)}
	h.watchers[w] = struct{}{}
	return &KeySnapshot{Keys: keys}, w, nil
}

func (h *Hub) unwatch(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// publish sends event to every watcher. It ends watchers whose buffer is full
// instead of blocking. The caller holds h.mu.
func (h *Hub) publish(event *KeyEvent) {
	for w := range h.watchers {
		select {
		case w.events <- event:
		default:
			h.end(w, status.Errorf(codes.ResourceExhausted, "the watcher fell %d changes behind", maxPending))
		}
	}
}

// end makes w's Watch return err after its pending events. The caller holds h.mu.
func (h *Hub) end(w *watcher, err error) {
	delete(h.watchers, w)
	w.err = err
	close(w.events)
}

// Echo implements [HubServer].
func (h *Hub) Echo(stream grpc.BidiStreamingServer[EchoRequest, EchoResponse]) error {
	for count := uint32(1); ; count++ {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&EchoResponse{Text: req.Text, Count: count}); err != nil || req.End {
			return err
		}
	}
}

// Sum implements [HubServer].
func (h *Hub) Sum(stream grpc.ClientStreamingServer[SumRequest, SumResponse]) error {
	sum := new(SumResponse)
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(sum)
		}
		if err != nil {
			return err
		}
		sum.Sum += req.Value
		sum.Count++
	}
}

// Sleep implements [HubServer].
func (h *Hub) Sleep(ctx context.Context, req *SleepRequest) (*emptypb.Empty, error) {
	d := req.Duration.AsDuration()
	if d < 0 || d > maxSleep {
		return nil, invalid("duration", fmt.Sprintf("must be 0s to %v, not %v", maxSleep, d))
	}
	select {
	case <-time.After(d):
		return &emptypb.Empty{}, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// checkName bounds the length of a name. Errors contain the name, and trailers
// have a size limit.
func checkName(name string) error {
	if n := len(name); n == 0 || n > maxName {
		return invalid("name", fmt.Sprintf("must be 1 to %d bytes long, not %d", maxName, n))
	}
	return nil
}

// invalid is the error for a request whose field breaks a rule.
func invalid(field, rule string) error {
	return detailed(codes.InvalidArgument, field+" "+rule, &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: rule}},
	})
}

// keyError is the error for a key that exists but shouldn't, or the reverse.
func keyError(code codes.Code, name, description string) error {
	return detailed(code, fmt.Sprintf("key %q %s", name, description), &errdetails.ResourceInfo{
		ResourceType: "key",
		ResourceName: name,
		Description:  description,
	})
}

// detailed is an error with a code, a message and one detail.
func detailed(code codes.Code, message string, detail protoadapt.MessageV1) error {
	s := status.New(code, message)
	if with, err := s.WithDetails(detail); err == nil {
		s = with
	}
	return s.Err()
}
