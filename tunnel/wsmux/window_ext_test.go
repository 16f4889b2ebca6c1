package wsmux_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// firstWindow is the initial size of a receive window.
const firstWindow = 256 << 10

func TestUnreadStreamBuffersTheFirstWindow(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	stream, peer := connect(t, client, server)
	defer peer.Close()
	mustWrite(t, stream, string(make([]byte, firstWindow)))
	if err := stream.SetWriteDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := stream.Write(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write beyond the window = %d, %v, want a timeout", n, err)
	}
}

// A hashicorp/yamux peer interoperates with growing windows.
func TestGrowingWindowsInteropWithHashicorp(t *testing.T) {
	t.Parallel()
	data := make([]byte, 20<<20) // more than the largest window
	for i := range data {
		data[i] = byte(i >> 10)
	}
	for _, role := range []wsmux.Role{wsmux.Client, wsmux.Server} {
		t.Run("as yamux "+role.String(), func(t *testing.T) {
			t.Parallel()
			dialed, accepted := tunneltest.WebSockets(t)
			session := newSession(t, dialed, wsmux.Dialing, role)
			start := yamux.Server
			if role == wsmux.Server {
				start = yamux.Client
			}
			config := yamux.DefaultConfig()
			config.LogOutput = io.Discard
			peer, err := start(wsmux.WrapConn(accepted), config)
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			far, err := peer.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			near, err := session.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			for _, ends := range [][2]net.Conn{{far, near}, {near, far}} {
				sent := make(chan error, 1)
				go func() {
					_, err := ends[0].Write(data)
					sent <- err
				}()
				got := make([]byte, len(data))
				if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, data) {
					t.Errorf("ReadFull = %v, or the bytes differ from those sent", err)
				}
				if err := <-sent; err != nil {
					t.Errorf("Write = %v", err)
				}
			}
		})
	}
}
