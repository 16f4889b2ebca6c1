package wsmux_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// A relay that changes, repeats, drops or cuts off bytes, or ends TLS itself, is noticed.
func TestTLSHostileRelay(t *testing.T) {
	t.Parallel()
	// chunks passes bytes on, and, once a message is sent, changes the chunk with it.
	chunks := func(change func(dst *wsmux.Stream, chunk []byte)) (relayed, func()) {
		armed := make(chan struct{})
		return func(dst, src *wsmux.Stream, fromEngineer bool) {
			buf := make([]byte, 64<<10)
			for {
				n, err := src.Read(buf)
				if err != nil {
					_ = dst.Close()
					return
				}
				select {
				case <-armed:
					if !fromEngineer {
						change(dst, buf[:n])
						continue
					}
				default:
				}
				_, _ = dst.Write(buf[:n])
			}
		}, func() { close(armed) }
	}
	for _, test := range []struct {
		name   string
		change func(dst *wsmux.Stream, chunk []byte)
		want   string
	}{
		{"a flipped bit", func(dst *wsmux.Stream, chunk []byte) {
			chunk[len(chunk)-1] ^= 1
			_, _ = dst.Write(chunk)
		}, "bad record MAC"},
		{"a repeated record", func(dst *wsmux.Stream, chunk []byte) { _, _ = dst.Write(append(bytes.Clone(chunk), chunk...)) }, "bad record MAC"},
		{"an end between two records", func(dst *wsmux.Stream, chunk []byte) {
			_, _ = dst.Write(chunk)
			_ = dst.CloseWrite()
		}, wsmux.ErrTruncated.Error()},
		{"an end in a record", func(dst *wsmux.Stream, chunk []byte) {
			_, _ = dst.Write(chunk[:len(chunk)-1])
			_ = dst.CloseWrite()
		}, wsmux.ErrTruncated.Error()},
		{"other bytes", func(dst *wsmux.Stream, _ []byte) { _, _ = dst.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) }, "TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clientTLS, serverTLS := configs(t)
			pass, arm := chunks(test.change)
			s := newSecured(t, clientTLS, serverTLS, pass, nil)
			engineer, worker := s.pair(t)
			arm()
			mustWrite(t, worker, "answer")
			_, err := io.ReadAll(engineer)
			te, ok := errors.AsType[*wsmux.TLSError](err)
			if !ok || te.Handshake || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Read = %v, want %s", err, test.want)
			}
			if _, again := engineer.Read(make([]byte, 1)); again == nil || again.Error() != err.Error() {
				t.Errorf("another Read = %v, want the same error", again)
			}
			_ = engineer.Close()
			_ = worker.Close()
		})
	}
	t.Run("TLS with a certificate of the relay", func(t *testing.T) {
		t.Parallel()
		clientTLS, serverTLS := configs(t)
		own := &tls.Config{Certificates: []tls.Certificate{tunneltest.NewAuthority(t, "relay").Issue("w-1", time.Hour)}, MinVersion: tls.VersionTLS13}
		s := newSecured(t, clientTLS, serverTLS, func(_, src *wsmux.Stream, fromEngineer bool) {
			if fromEngineer {
				conn := tls.Server(src, own)
				_ = conn.HandshakeContext(t.Context())
				_ = conn.Close()
			}
		}, nil)
		_, err := s.engineer.Connect(t.Context())
		if err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("Connect = %v", err)
		}
	})
}
