package tracing

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// BenchmarkFollow measures the events of a unary call: followed and printed.
func BenchmarkFollow(b *testing.B) {
	for name, o := range map[string]*Options{"lines": {Trace: true}, "messages": {Trace: true, Messages: true}} {
		b.Run(name, func(b *testing.B) {
			out := &Output{Writer: io.Discard, Secrets: &escape.Secrets{}, Catalog: reflection.NewCatalog()}
			f, _ := o.newFollower(out, nil)
			now := time.Now()
			body := []byte("\x0a\x0a0123456789")
			events := []trace.Event{
				{Type: trace.ClientHeader},
				{Type: trace.ClientMessage, Size: 12, Data: body},
				{Type: trace.ClientHalfClose},
				{Type: trace.ServerHeader},
				{Type: trace.ServerMessage, Size: 12, Data: body},
				{Type: trace.ServerTrailer, Code: codes.OK, Duration: time.Millisecond},
			}
			n := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				n++
				for i := range events {
					e := &events[i]
					e.Call, e.Session, e.Time, e.Method = n, 1, now, "/wstun.demo.v1.Hub/CreateKey"
					f.Event(e)
				}
				if n%100 == 0 {
					f.Flush(now)
				}
			}
		})
	}
}

// BenchmarkRecord measures a message that is recorded: a small one of a known type, and a
// large one without.
func BenchmarkRecord(b *testing.B) {
	for name, size := range map[string]int{"small": 12, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			o := &Options{Record: filepath.Join(b.TempDir(), "r"), RecordMax: 64 << 20, RecordKeep: 1, RecordFormat: "json"}
			out := &Output{Secrets: &escape.Secrets{}, Catalog: reflection.NewCatalog(), Logger: slog.New(slog.DiscardHandler)}
			f, _, err := o.newFileRecorder(b.Context(), out, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			e := &trace.Event{Type: trace.ServerMessage, Time: time.Now(), Call: 1, Method: "/wstun.demo.v1.Hub/CreateKey", Size: int64(size), Data: make([]byte, size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				e.Seq++
				f.Event(e)
			}
		})
	}
}
