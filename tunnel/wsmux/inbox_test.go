package wsmux

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// closer is a writer that closes the inbox while it writes.
type closer struct{ b *inbox }

func (c closer) Write(p []byte) (int, error) {
	c.b.close()
	return len(p), nil
}

// A window that has been given back doesn't grow any more.
func TestInboxClosedWhileWritingOn(t *testing.T) {
	t.Parallel()
	dialed, _ := tunneltest.WebSockets(t)
	s, err := NewSession(dialed, Client, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := newInbox(s, 1)
	if err := b.deliver(make([]byte, 200<<10)); err != nil {
		t.Fatal(err)
	}
	b.finish()
	if n, _, err := b.writeTo(closer{b}, func() {}); n != 200<<10 || err != nil {
		t.Fatalf("writeTo = %d, %v", n, err)
	}
	if grown := s.grown.Load(); grown != 0 {
		t.Errorf("the session's windows have grown by %d bytes, with none open", grown)
	}
}

// TestInboxGivesWhatCameInTime has data and the end come at the moment at which
// the deadline passes for one who waits, as it does when the session ends.
func TestInboxGivesWhatCameInTime(t *testing.T) {
	t.Parallel()
	ways := map[string]func(b *inbox) (string, error){
		"Read": func(b *inbox) (string, error) {
			p := make([]byte, 10)
			n, err := b.Read(p)
			return string(p[:n]), err
		},
		"writeTo": func(b *inbox) (string, error) {
			var got bytes.Buffer
			_, readErr, writeErr := b.writeTo(&got, func() {})
			return got.String(), errors.Join(readErr, writeErr)
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newInbox(&Session{t: &transport{}}, 1)
				go func() {
					synctest.Wait() // until it waits
					b.mu.Lock()
					defer b.mu.Unlock()
					_ = b.SetReadDeadline(longAgo)
					b.hold([]byte("last"))
					b.end = io.EOF
				}()
				if got, err := way(b); got != "last" || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}
