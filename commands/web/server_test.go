package web

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// start serves handler, and returns its URL.
func start(t *testing.T, handler http.Handler) (s *http.Server, url string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = NewServer(t.Context(), handler, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return s, "http://" + l.Addr().String()
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// Endless responses take the places of others, up to a limit, and give them back.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	release, ended := make(chan struct{}), make(chan struct{}, maxRequests)
	_, url := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(NewStream(w), "begun\n")
		<-release
		ended <- struct{}{}
	}))
	for range maxRequests {
		resp := get(t, url)
		defer resp.Body.Close()
	}
	resp := get(t, url)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s, want 503 with Retry-After", resp.Status)
	}
	close(release)
	for range maxRequests {
		<-ended
	}
}

// Shutdown ends streams: their contexts end.
func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	s, url := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream := NewStream(w)
		_, _ = io.WriteString(stream, "begun\n")
		<-r.Context().Done()
		_, _ = io.WriteString(stream, "ended\n")
	}))
	resp := get(t, url)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if line, err := lines.ReadString('\n'); line != "ended\n" {
		t.Errorf("%q, %v", line, err)
	}
}
