package inspect

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/trace"
)

// load makes events of a long Watch and of short calls.
type load struct {
	e     *env
	calls uint64
	watch trace.Event // the newest of the Watch
}

func newLoad(e *env) *load {
	l := &load{e: e, calls: 1}
	l.watch = trace.Event{Session: 1, Stream: 1, Call: 1, Method: hub + "WatchKeys", IsGRPC: true, Time: time.Now()}
	l.next(trace.ClientHeader, trace.Client, nil)
	l.next(trace.ClientMessage, trace.Client, nil)
	return l
}

// next adds an event of the Watch.
func (l *load) next(t trace.Type, side trace.Side, data []byte) {
	l.watch.Seq++
	w := l.watch
	w.Type, w.Side, w.Data, w.Size, w.Time = t, side, data, int64(len(data)), time.Now()
	switch t {
	case trace.ClientMessage:
		w.Sent.Messages++
	case trace.ServerMessage:
		w.Received.Messages++
		w.Received.Bytes += w.Size
	}
	l.watch.Sent, l.watch.Received = w.Sent, w.Received
	l.e.Output().Sink.Event(&w)
}

func (l *load) message() {
	data, err := proto.Marshal(&demo.KeyEvent{Event: &demo.KeyEvent_Created{Created: &demo.Key{
		Name: fmt.Sprintf("key-%d", l.watch.Received.Messages), CreateTime: timestamppb.Now(),
	}}})
	if err != nil {
		l.e.t.Error(err)
	}
	l.next(trace.ServerMessage, trace.Server, data)
}

// call adds a call that has ended.
func (l *load) call() {
	l.calls++
	c := trace.Event{Session: 1, Stream: uint32(l.calls), Call: l.calls, Method: hub + "DeleteKey", IsGRPC: true, Time: time.Now()}
	for i, step := range []trace.Type{trace.ClientHeader, trace.ClientMessage, trace.ServerHeader, trace.ServerTrailer} {
		c.Type, c.Seq = step, uint32(i+1)
		c.Duration = time.Millisecond
		l.e.Output().Sink.Event(&c)
	}
}

// TestPageLoad follows and scrolls a Watch of 100,000 messages while there are 2,000 more
// and 200 calls a second, and prints how long frames take.
func TestPageLoad(t *testing.T) {
	if os.Getenv("WSTUN_LONG_TESTS") == "" {
		t.Skip("takes half a minute: set WSTUN_LONG_TESTS=1")
	}
	e := newEnv(t, 0, Options{})
	l := newLoad(e)
	for range 10000 {
		l.call()
	}
	for range 100000 {
		l.message()
	}
	p := openPage(t, e)
	p.Wait(`inspector.store.calls.length >= 10000`)
	p.Press("J")
	p.Press("okla")
	p.Wait(rows(".messages") + `.length > 5`)

	var wg sync.WaitGroup
	stop := make(chan struct{})
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			for range 20 {
				l.message()
			}
			l.call()
			l.call()
		}
	})
	// frames runs each frame for three seconds and returns the times between frames.
	frames := func(name, each string) {
		t.Helper()
		var v struct{ P50, P95, Max, N float64 }
		p.Eval(`new Promise(done => {
			const times = [], list = s => document.querySelector(s), begin = performance.now();
			let last = begin;
			const frame = now => {
				times.push(now - last);
				last = now;
				`+each+`
				if (now - begin < 3000) requestAnimationFrame(frame);
				else {
					times.sort((a, b) => a - b);
					done({P50: times[times.length >> 1], P95: times[Math.floor(times.length * .95)], Max: times.at(-1), N: times.length});
				}
			};
			requestAnimationFrame(frame);
		})`, &v)
		t.Logf("%-22s %3.0f frames: p50 %5.1f ms, p95 %5.1f ms, max %5.1f ms", name, v.N, v.P50, v.P95, v.Max)
	}
	p.Eval(`inspector.table.list.setFollow(true)`, nil)
	frames("following", "")
	frames("scrolling by 40 px", `list(".messages .vlist").scrollTop -= 40;`)
	frames("scrolling by 9,000 px", `list(".messages .vlist").scrollTop -= 9000;`)
	frames("scrolling the calls", `list("#calls .vlist").scrollTop -= 200;`)
	p.Wait(`!document.querySelector(".messages .newer").hidden && !document.querySelector("#calls .newer").hidden`)
	filled := func(rows string) string {
		return `(rows => rows.length > 5 && rows.every(r => !r.innerText.includes("…")))(` + rows + `)`
	}
	p.Wait(filled(rows(".messages")))
	// At the edge of the dropped messages, too, rows are filled, although they are dropped soon.
	// On a busy machine, they may be dropped before they are there: then the next ones are.
	edge := `(document.querySelector(".messages .vlist").scrollTop = 17 * 24, ` + rows(".messages") + `)`
	p.Wait(filled(edge + `.filter(r => r.index > 16)`))
	var nodes, heap float64
	p.Eval(`document.querySelectorAll("*").length`, &nodes)
	p.Eval(`performance.memory.usedJSHeapSize / 1e6`, &heap)
	if t.Logf("%.0f elements, %.1f MB of JavaScript", nodes, heap); nodes > 3000 {
		t.Errorf("%.0f elements, want few however many messages there are", nodes)
	}
}
