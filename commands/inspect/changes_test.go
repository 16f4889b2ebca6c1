package inspect

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A call appears at once, and again when it changes.
func TestFollow(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	s := e.follow("")
	defer s.close()
	if hello := s.next(); hello["type"] != "hello" || hello["boot"] != e.boot || hello["rev"] != 0.0 {
		t.Errorf("hello = %v", hello)
	}
	if first := s.next(); first["type"] != "batch" || len(first["calls"].([]any)) != 0 {
		t.Errorf("the first batch is %v", first)
	}
	started := time.Now()
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	b := s.next()
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("the call appeared after %v", took)
	}
	if c := at(t, b, "calls", 0).(map[string]any); c["method"] != hub+"CreateKey" {
		t.Errorf("call = %v", c)
	}
}

// seen applies batches as the page does. It counts the messages of calls, by ID.
type seen struct {
	t     *testing.T
	rev   float64
	calls map[float64]map[string]any
}

// apply applies the next line.
func (s *seen) apply(line map[string]any) {
	s.t.Helper()
	switch line["type"] {
	case "reset":
		s.t.Error("reset")
	case "batch":
		if line["rev"].(float64) < s.rev {
			s.t.Errorf("rev %v after %v", line["rev"], s.rev)
		}
		s.rev = line["rev"].(float64)
		for _, c := range line["calls"].([]any) {
			c := c.(map[string]any)
			s.calls[c["id"].(float64)] = c
		}
		for _, id := range at(s.t, line, "gone", "ids").([]any) {
			delete(s.calls, id.(float64))
		}
	}
}

// A reader that comes and goes misses nothing.
func TestResume(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	got := &seen{t: t, calls: map[float64]map[string]any{}}
	const calls = 60
	done := make(chan error, 1)
	go func() {
		for i := range calls {
			if err := e.key(0, fmt.Sprintf("k%d", i)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for got.ended() < calls {
		s := e.follow(fmt.Sprintf("since=%d&boot=%s", int(got.rev), e.boot))
		got.apply(s.next())
		got.apply(s.next())
		s.close()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(got.calls) != calls {
		t.Errorf("%d calls, want %d", len(got.calls), calls)
	}
}

// ended returns the number of ended calls.
func (s *seen) ended() (n int) {
	for _, c := range s.calls {
		if c["end"] != nil {
			n++
		}
	}
	return n
}

// A reader that has followed another process gets a reset.
func TestOtherBoot(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	e.await(ended("CreateKey"))
	for query, wantReset := range map[string]bool{
		"": false, "since=1&boot=" + e.boot: false, "since=1": false, "since=1&boot=other": true, "since=999999": true, "since=0&boot=other": false,
	} {
		s := e.follow(query)
		hello, second := s.next(), s.next()
		if got := second["type"] == "reset"; got != wantReset || hello["type"] != "hello" {
			t.Errorf("%q: %v, %v", query, hello, second)
		}
		if wantReset {
			if b := s.next(); len(b["calls"].([]any)) != 1 {
				t.Errorf("%q: %v", query, b)
			}
		}
		s.close()
	}
}

// slowWriter is a reader that takes a batch when the test says so.
type slowWriter struct {
	*httptest.ResponseRecorder
	take chan struct{} // each element lets a line pass
	line chan []byte
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.line <- append([]byte{}, p...)
	<-w.take
	return len(p), nil
}

// A slow reader gets fewer batches, which have all changes.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w := &slowWriter{httptest.NewRecorder(), make(chan struct{}), make(chan []byte, 1)}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		e.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/changes", nil))
	}()
	next := func() map[string]any {
		line := decode(t, string(tunneltest.Await(t, "line", w.line)))
		return line
	}
	next() // hello
	w.take <- struct{}{}
	next() // the empty batch; the reader is stuck in it
	const calls, messages = 50, 1000
	for i := range calls {
		event := trace.Event{Type: trace.ClientHeader, Call: uint64(i) + 1, Method: "/a.B/C", Time: time.Now()}
		e.Store().Event(&event)
		event.Type, event.Size = trace.ServerMessage, 3
		for range messages {
			event.Received.Messages++
			e.Store().Event(&event)
		}
	}
	w.take <- struct{}{}
	b := next()
	list := b["calls"].([]any)
	if len(list) != calls || b["rev"] != float64(e.Store().Rev()) {
		t.Errorf("the batch has %d calls, rev %v of %d", len(list), b["rev"], e.Store().Rev())
	}
	for i := range list {
		if n := at(t, list, i, "down", "n"); n != float64(messages) {
			t.Errorf("call %d has %v messages", i, n)
		}
	}
	cancel()
	w.take <- struct{}{}
	<-finished
}

// Close ends the streams.
func TestCloseStreams(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	s := e.follow("")
	defer s.close()
	s.next()
	s.next()
	e.Close()
	for s.lines.Scan() {
	}
	if err := s.lines.Err(); err != nil {
		t.Error(err)
	}
}

// Sessions are there once, and again when they change.
func TestSessions(t *testing.T) {
	t.Parallel()
	state := make(chan string, 1)
	state <- "up"
	e := newEnv(t, 0, Options{Sessions: func() []Session {
		s := <-state
		state <- s
		return []Session{{ID: 1, Remote: "ws://a/", State: s, Rates: []int64{1, 2}}, {ID: 2, Remote: "ws://b/", State: "up"}}
	}})
	s := e.follow("")
	defer s.close()
	s.next()
	b := s.next()
	if list := b["sessions"].([]any); len(list) != 2 || len(at(t, list, 0, "rates").([]any)) != 2 || at(t, list, 0, "state") != "up" {
		t.Errorf("sessions = %v", list)
	}
	<-state
	state <- "down"
	b = s.next()
	if list := b["sessions"].([]any); len(list) != 1 || at(t, list, 0, "state") != "down" || at(t, list, 0, "rates") != nil {
		t.Errorf("then %v", list)
	}
}

// Streams of changes can't take the places of all other requests.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	var streams []*follower
	for range maxStreams {
		s := e.follow("")
		s.next()
		streams = append(streams, s)
	}
	if status, body := e.do(http.MethodGet, "/api/v1/changes", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "16 pages") {
		t.Errorf("one more: %d %s", status, body)
	}
	for _, s := range streams {
		s.close()
	}
}
