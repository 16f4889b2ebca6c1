package wsmux

import (
	"testing"

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
