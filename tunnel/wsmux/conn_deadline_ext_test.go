package wsmux_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestWrapConnDeadlineLosesNothing(t *testing.T) {
	t.Parallel()
	for name, side := range sides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := side.connect(t)
			other := wsmux.WrapConn(peer)
			defer other.Close()
			data := make([]byte, 4*1024*1024)
			_, _ = rand.Read(data)
			go func() {
				rest := data
				for len(rest) > 0 {
					_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
					n, err := c.Write(rest[:min(len(rest), 200_000)])
					rest = rest[n:]
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Write: %v", err)
						return
					}
				}
			}()
			got := make([]byte, 0, len(data))
			buf := make([]byte, 10_000)
			for len(got) < len(data) {
				_ = other.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
				n, err := other.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Read: %v", err)
				}
			}
			if !bytes.Equal(got, data) {
				t.Error("the bytes read differ from those written")
			}
		})
	}
}
