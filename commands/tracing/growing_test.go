package tracing

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// lineWriter passes on the lines that are written.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w <- line
	}
	return len(p), nil
}

// A recording is followed into the next file when it is rotated.
func TestFollowRotated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r")
	l := recording.NewHeader("", start)
	header := l.Append(nil)
	file, err := recording.Create(t.Context(), path, &recording.FileOptions{
		Max: 1, Keep: 5, Head: func(bool) []byte { return header }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, cancel := context.WithCancel(t.Context())
	lines, done := make(lineWriter), make(chan error)
	go func() { done <- (&Options{}).Print(ctx, in, true, &Output{Writer: lines, Secrets: &escape.Secrets{}}) }()
	for _, reason := range []string{"one", "two", "three"} {
		l := recording.New(trace.Other.String(), start)
		l.Reason = reason
		if _, err := file.Write(l.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if got := tunneltest.Await(t, "the line for "+reason, lines); !strings.HasSuffix(got, "stream 0: "+reason+"\n") {
			t.Errorf("%q, want %s", got, reason)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
