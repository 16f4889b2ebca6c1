package wsmux

import (
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// pongWait bounds the sending of a Pong. gorilla's own handler allows
	// one second, after which a full socket costs the whole connection.
	pongWait = 60 * time.Second

	// unknownRoundTrip is what a round trip is taken for that hasn't been
	// measured.
	unknownRoundTrip = 100 * time.Millisecond
)

// answerPing answers a Ping from another goroutine: the reader must not wait
// for a full socket. While one answer waits, only the newest Ping is kept,
// which RFC 6455 §5.5.3 allows.
func (t *transport) answerPing(data string) error {
	t.pongMu.Lock()
	defer t.pongMu.Unlock()
	t.pong = &data
	if !t.ponging {
		t.ponging = true
		go t.sendPongs()
	}
	return nil
}

func (t *transport) sendPongs() {
	for {
		t.pongMu.Lock()
		data := t.pong
		t.pong = nil
		if data == nil {
			t.ponging = false
		}
		t.pongMu.Unlock()
		if data == nil {
			return
		}
		// An error here shows in the next Write as well.
		_ = t.control(websocket.PongMessage, []byte(*data), time.Now().Add(pongWait))
	}
}

// ping sends a Ping, with the time in it. It waits for the message that is being
// written, until deadline.
func (t *transport) ping(deadline time.Time) error {
	if err := t.beginControl(deadline); err != nil {
		return err
	}
	defer t.endControl()
	now := strconv.AppendInt(nil, time.Since(t.started).Nanoseconds(), 10)
	return t.ws.WriteControl(websocket.PingMessage, now, deadline)
}

// noteRoundTrip takes notice of a Pong. One that wasn't asked for has no time in
// it that could be right.
func (t *transport) noteRoundTrip(data string) {
	sent, err := strconv.ParseInt(data, 10, 64)
	took := time.Since(t.started).Nanoseconds() - sent
	if err != nil || sent < 0 || took <= 0 {
		return
	}
	if least := t.leastRoundTrip.Load(); least == 0 || took < least {
		t.leastRoundTrip.Store(took) // only the reader stores
	}
}

// roundTrip is the least that a Pong has taken, or a guess while none has come.
func (t *transport) roundTrip() time.Duration {
	if least := t.leastRoundTrip.Load(); least > 0 {
		return time.Duration(least)
	}
	return unknownRoundTrip
}
