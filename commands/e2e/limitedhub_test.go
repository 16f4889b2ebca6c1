//go:build unix

package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/wstun/wstun/commands/demo"
)

// limitedhub is a demo Hub that accepts WebSockets with coder/websocket, and so reads at
// most 32,768 bytes a message.
func limitedhub() {
	l := mustListen()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		config := yamux.DefaultConfig()
		config.LogOutput = io.Discard
		config.EnableKeepAlive = false
		session, err := yamux.Server(&messageStream{ws: ws}, config)
		if err != nil {
			return
		}
		s := grpc.NewServer()
		demo.New().Register(s)
		reflection.Register(s)
		_ = s.Serve(session) // until the session ends
	}))
}

// messageStream is the byte stream in the messages of ws.
type messageStream struct {
	ws      *websocket.Conn
	message io.Reader // the rest of a message; nil between messages
}

func (s *messageStream) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			_, message, err := s.ws.Reader(context.Background())
			if err != nil {
				return 0, err
			}
			s.message = message
		}
		n, err := s.message.Read(p)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *messageStream) Write(p []byte) (int, error) {
	return len(p), s.ws.Write(context.Background(), websocket.MessageBinary, p)
}

func (s *messageStream) Close() error { return s.ws.CloseNow() }
