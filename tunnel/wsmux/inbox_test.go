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

func (c closer) TryWrite([]byte) (int, error) { return 0, nil }

func (c closer) Write(p []byte) (int, error) {
	c.b.close()
	return len(p), nil
}

// passedOn passes on what comes to its end.
func passedOn(b *inbox, w TryWriter) error {
	ended := make(chan error)
	b.passOn(w, func() {}, func(readErr, writeErr error) { ended <- errors.Join(readErr, writeErr) })
	return <-ended
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
	if err := passedOn(b, closer{b}); !errors.Is(err, io.EOF) {
		t.Fatalf("passOn ended with %v", err)
	}
	if grown := s.grown.Load(); grown != 0 {
		t.Errorf("the session's windows have grown by %d bytes, with none open", grown)
	}
}

// lazyBuffer takes nothing without waiting.
type lazyBuffer struct{ bytes.Buffer }

func (*lazyBuffer) TryWrite([]byte) (int, error) { return 0, nil }

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
		"passOn": func(b *inbox) (string, error) {
			var got lazyBuffer
			err := passedOn(b, &got)
			return got.String(), err
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
					b.deadline.move(longAgo)
					b.hold([]byte("last"))
					b.end = io.EOF
					b.change()
				}()
				if got, err := way(b); got != "last" || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}
