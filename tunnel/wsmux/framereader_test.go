package wsmux

import (
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// What gorilla has read ahead is not lost: gorilla goes on then.
func TestFrameReaderLeavesWhatIsRead(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	if newFrameReader(newTransport(dialed)) != nil {
		t.Error("a frameReader on the dialing side, whose peer doesn't mask")
	}
	if newFrameReader(newTransport(accepted)) == nil {
		t.Fatal("no frameReader on a fresh connection: gorilla's fields have changed")
	}
	w := newFrameWriter(dialed, nil)
	var sent []byte
	for _, text := range []string{"first", "second"} {
		header := appendFrameHeader(make([]byte, 0, 100), websocket.BinaryMessage, true, len(text))
		sent = append(sent, w.appendMasked(header, []byte(text), nil)...)
	}
	if _, err := w.conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	if _, p, err := accepted.ReadMessage(); err != nil || string(p) != "first" {
		t.Fatalf("ReadMessage = %q, %v", p, err)
	}
	if newFrameReader(newTransport(accepted)) != nil {
		t.Error("a frameReader where gorilla has read ahead")
	}
}
