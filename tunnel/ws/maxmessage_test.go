package ws

import (
	"bytes"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// No message exceeds MaxMessage, and no byte is lost.
func TestMaxMessage(t *testing.T) {
	t.Parallel()
	const limit = 1000
	opts := &Options{MaxMessage: limit}
	for name, open := range map[string]func() (*Conn, *websocket.Conn){
		"dialing": func() (*Conn, *websocket.Conn) {
			dialed, accepted := tunneltest.WebSockets(t)
			return Take(dialed, Dialing, opts), accepted
		},
		"accepting": func() (*Conn, *websocket.Conn) {
			dialed, accepted := tunneltest.WebSockets(t)
			return Take(accepted, Accepting, opts), dialed
		},
		"accepting on TLS": func() (*Conn, *websocket.Conn) {
			dialed, accepted := tunneltest.TLSWebSockets(t)
			return Take(accepted, Accepting, opts), dialed
		},
		"shared": func() (*Conn, *websocket.Conn) {
			dialed, accepted := tunneltest.WebSockets(t)
			return Share(dialed, opts), accepted
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := open()
			var want []byte
			done := make(chan error, 1)
			sizes := []int{1, 12, 988, limit, limit + 1, 3*limit - 12, smallWrite, 400_000}
			for _, n := range sizes {
				want = append(want, append(pattern(12, 3), pattern(n, 5)...)...)
				want = append(want, pattern(n, 7)...)
			}
			for range 1000 { // more than a message, still queued when the connection is closed
				want = append(want, pattern(12, 3)...)
			}
			go func() {
				for _, n := range sizes {
					if err := c.WriteFrame(pattern(12, 3), pattern(n, 5)); err != nil {
						done <- err
						return
					}
					if _, err := c.Write(pattern(n, 7)); err != nil {
						done <- err
						return
					}
				}
				for range 1000 {
					c.QueueFrame(pattern(12, 3))
				}
				c.CloseWith(websocket.CloseNormalClosure, "")
				done <- nil
			}()
			var got []byte
			for {
				_, message, err := peer.ReadMessage()
				if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
					break
				}
				if err != nil || len(message) > limit {
					t.Fatalf("read a message of %d bytes, %v", len(message), err)
				}
				got = append(got, message...)
			}
			if err := tunneltest.Await(t, "the writes", done); err != nil || !bytes.Equal(got, want) {
				t.Errorf("wrote %d bytes, %v; read %d or others", len(want), err, len(got))
			}
			<-c.Done()
		})
	}
}
