package inspect

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/trace"
)

// watched returns a Handler with a Watch of n messages.
func watched(tb testing.TB, n int) *Handler {
	tb.Helper()
	h := New(&Options{Catalog: hubCatalog(tb)})
	tb.Cleanup(h.Close)
	e := &trace.Event{Type: trace.ClientHeader, Call: 1, Method: hub + "WatchKeys", Time: time.Now(), IsGRPC: true}
	h.Store().Event(e)
	e.Type = trace.ServerMessage
	for range n {
		e.Time = e.Time.Add(time.Millisecond)
		e.Data, _ = proto.Marshal(&demo.KeyEvent{Event: &demo.KeyEvent_Tick{Tick: timestamppb.New(e.Time)}})
		e.Size = int64(len(e.Data))
		e.Received.Messages++
		h.Store().Event(e)
	}
	return h
}

// BenchmarkPage measures a page of 200 messages of a long Watch.
func BenchmarkPage(b *testing.B) {
	h := watched(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/calls/1/messages?from=50000", nil))
	}
}

// BenchmarkFind measures a search in 10,000 messages that finds nothing.
func BenchmarkFind(b *testing.B) {
	h := watched(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/calls/1/messages?q=nothing", nil))
	}
}
