package ws

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// gorilla can read the messages of a frameWriter.
func TestFrameWriter(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"dialing", "accepting"} {
		t.Run("from the "+side+" side", func(t *testing.T) {
			t.Parallel()
			from, to := tunneltest.WebSockets(t)
			if side == "accepting" {
				from, to = to, from
			}
			w := newFrameWriter(from.NetConn(), nil, map[string]Side{"dialing": Dialing, "accepting": Accepting}[side], nil)
			sizes := []int{0, 1, 2, 3, 7, 12, 125 - 12, 126 - 12, 511, 516, 4096, 1<<16 - 13, 1<<16 - 12, 1 << 16, 200_000}
			sent := make(chan error, 1)
			go func() {
				for _, a := range sizes {
					for _, b := range sizes {
						if err := w.writeMessage(pattern(a, 3), pattern(b, 5)); err != nil {
							sent <- fmt.Errorf("writeMessage of %d and %d bytes: %w", a, b, err)
							return
						}
					}
				}
				sent <- nil
			}()
			for _, a := range sizes {
				for _, b := range sizes {
					kind, got, err := to.ReadMessage()
					if err != nil || kind != websocket.BinaryMessage {
						t.Fatalf("%d and %d bytes: read kind %d, %v", a, b, kind, err)
					}
					if want := append(pattern(a, 3), pattern(b, 5)...); !bytes.Equal(got, want) {
						t.Fatalf("%d and %d bytes: read %d bytes, or others", a, b, len(got))
					}
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}

// pattern returns n bytes without a short period.
func pattern(n int, factor byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i)*factor + byte(i>>8)
	}
	return p
}
