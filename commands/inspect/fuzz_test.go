package inspect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/tunnel/trace"
)

// Whatever a peer sends, an answer is a line of JSON without control characters, and not much
// longer than the message.
func FuzzMessage(f *testing.F) {
	f.Add("WatchKeys", "x-a", []byte("\x12\x04\x0a\x02hi"), false)
	f.Add("Echo", "\x1b", []byte("\x0a\x02\xff\u202e\x50\x01"), false)
	f.Add("?", "grpc-status-details-bin", gzipped(f, []byte("\x0a\x02hi")), true)
	h := New(&Options{Catalog: hubCatalog(f), Store: store.Options{Calls: 10}})
	f.Cleanup(h.Close)
	number := uint64(0)
	f.Fuzz(func(t *testing.T, method, name string, data []byte, compressed bool) {
		number++
		e := trace.Event{Type: trace.ClientHeader, Call: number, Method: hub + method, Time: time.Now(), IsGRPC: true}
		h.Store().Event(&e)
		e.Type, e.Data, e.Size = trace.ServerMessage, data, int64(len(data))
		if compressed {
			e.Encoding = "gzip"
		}
		h.Store().Event(&e)
		e.Type, e.Message, e.Metadata = trace.ServerTrailer, name, fieldsOf(name, string(data))
		h.Store().Event(&e)
		calls := h.Store().Calls()
		d := h.Store().Call(calls[len(calls)-1].ID)
		messages, _ := h.Store().Messages(d.ID, 0, 1)
		for _, v := range []any{h.detailView(t.Context(), d), h.messageView(t.Context(), d, messages[0], shortMessage), h.messageView(t.Context(), d, messages[0], longMessage)} {
			text := string(line(v))
			if !json.Valid([]byte(text)) || len(text) > 64<<20 {
				t.Fatalf("%d bytes, and not JSON: %.1000q", len(text), text)
			}
			if strings.ContainsFunc(strings.TrimSuffix(text, "\n"), func(c rune) bool { return c < ' ' || c == '\u202e' || c == '\u2028' || c == 0x7f }) {
				t.Fatalf("control character in %.1000q", text)
			}
		}
		if command, err := h.commandFor(t.Context(), d, "grpcurl"); err == nil && strings.ContainsFunc(command, func(c rune) bool { return c < ' ' && c != '\n' || c == '\u202e' }) {
			t.Fatalf("control character in %q", command)
		}
	})
}
