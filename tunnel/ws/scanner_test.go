package ws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// written returns the bytes of messages that gorilla has written, masked if a client did.
func written(t *testing.T, client bool, write func(*websocket.Conn)) []byte {
	t.Helper()
	sender, receiver := tunneltest.WebSockets(t)
	if !client {
		sender, receiver = receiver, sender
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		write(sender)
		_ = sender.Close()
	}()
	all, err := io.ReadAll(receiver.NetConn())
	if err != nil {
		t.Fatal(err)
	}
	<-done
	return all
}

// The scanner finds the messages and control frames of gorilla, in pieces of any length.
func TestScanner(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{true, false} {
		t.Run(fmt.Sprint("client ", client), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(1, 1))
			var want bytes.Buffer
			all := written(t, client, func(c *websocket.Conn) {
				for _, size := range []int{1, 125, 126, 5000, 70_000} {
					message := bytes.Repeat([]byte{byte(size), 2, 3}, size/3+1)[:size]
					_ = c.WriteMessage(websocket.BinaryMessage, message)
					fmt.Fprintf(&want, "2:%x", message)
					_ = c.WriteControl(websocket.PingMessage, message[:min(size, 125)], time.Time{})
					fmt.Fprintf(&want, "9:%x", message[:min(size, 125)])
				}
				w, _ := c.NextWriter(websocket.TextMessage) // fragmented
				for range 3 {
					_, _ = w.Write(make([]byte, 5000))
				}
				_ = w.Close()
				fmt.Fprintf(&want, "1:%x", make([]byte, 15_000))
				_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4001, "bye"), time.Time{})
				fmt.Fprintf(&want, "8:%x", "\x0f\xa1bye")
			})
			for _, cut := range []func() int{func() int { return len(all) }, func() int { return 1 + rnd.IntN(7) }, func() int { return 1 + rnd.IntN(5000) }} {
				var got, message bytes.Buffer
				kind := 0
				s := &Scanner{
					Data: func(k int, p []byte) { kind = k; message.Write(p) },
				}
				flush := func() {
					if kind != 0 {
						fmt.Fprintf(&got, "%d:%x", kind, message.Bytes())
					}
					kind = 0
					message.Reset()
				}
				s.Control = func(opcode int, p []byte) {
					flush()
					fmt.Fprintf(&got, "%d:%x", opcode, p)
				}
				before := bytes.Clone(all)
				for rest := all; len(rest) > 0; {
					n := min(cut(), len(rest))
					s.Scan(rest[:n])
					rest = rest[n:]
				}
				if s.Err() != nil || got.String() != want.String() {
					t.Errorf("%v: got %.200s, want %.200s", s.Err(), got.String(), want.String())
				}
				if !bytes.Equal(before, all) {
					t.Error("Scan changed its input")
				}
			}
		})
	}
}

func TestScannerErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		bytes string
		want  error
	}{
		"compressed":               {"\xc2\x01x", ErrExtension},
		"continuation of nothing":  {"\x80\x01x", errFrame},
		"unknown opcode":           {"\x83\x01x", errFrame},
		"unknown control opcode":   {"\x8b\x01x", errFrame},
		"too long a control frame": {"\x89\x7e\x01\x00", errFrame},
		"none":                     {"\x82\x01x\x00\x01y", nil},
	} {
		s := &Scanner{}
		s.Scan([]byte(tt.bytes))
		if !errors.Is(s.Err(), tt.want) {
			t.Errorf("%s: %v, want %v", name, s.Err(), tt.want)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("\x82\x85\x01\x02\x03\x04hello\x88\x02\x03\xe8"), uint8(3))
	f.Fuzz(func(t *testing.T, all []byte, step uint8) {
		run := func(step int) string {
			var got bytes.Buffer
			s := &Scanner{
				Data:    func(kind int, p []byte) { got.Write(p) },
				Control: func(opcode int, p []byte) { fmt.Fprintf(&got, "<%d %q>", opcode, p) },
			}
			for p := all; len(p) > 0; p = p[min(step, len(p)):] {
				s.Scan(p[:min(step, len(p))])
			}
			return fmt.Sprint(got.String(), s.Err())
		}
		if whole, pieces := run(len(all)+1), run(int(step)+1); whole != pieces {
			t.Errorf("in pieces of %d: %q, whole: %q", step+1, pieces, whole)
		}
	})
}
