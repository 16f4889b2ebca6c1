package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

func TestStreamIsConn(t *testing.T) {
	t.Parallel()
	for name, opener := range map[string]Role{"client opens": Client, "server opens": Server} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				from, to := sessionPair(t, nil)
				if opener == Server {
					from, to = to, from
				}
				opened, accepted := streamPair(t, from, to)
				return opened, accepted, func() {
					_ = from.Close()
					_ = to.Close()
				}, nil
			})
		})
	}
}

// Each direction ends separately, and both ends remove the stream after the second.
func TestStreamHalfClose(t *testing.T) {
	t.Parallel()
	for _, openerFirst := range []bool{true, false} {
		client, server := sessionPair(t, nil)
		a, b := streamPair(t, client, server)
		if !openerFirst {
			a, b = b, a
		}
		mustWrite(t, a, "request")
		_ = a.CloseWrite()
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after CloseWrite = %v, want net.ErrClosed", err)
		}
		if got, err := io.ReadAll(b); string(got) != "request" || err != nil {
			t.Errorf("ReadAll = %q, %v, want the request", got, err)
		}
		mustWrite(t, b, "reply")
		_ = b.CloseWrite()
		eventually(t, "both ends to remove the stream", func() bool {
			return client.Stats().Streams+server.Stats().Streams == 0
		})
		if got, err := io.ReadAll(a); string(got) != "reply" || err != nil {
			t.Errorf("ReadAll = %q, %v, want the reply", got, err)
		}
		_ = a.Close()
		_ = b.Close()
	}
}

// A FIN that is sent during a data frame follows that frame.
func TestStreamCloseWriteDuringWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, peer := net.Pipe()
		s := startOurs(t, a, Client, nil)
		p := &rawPeer{t, peer}
		st, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.expect(typeWindowUpdate, flagSYN, 1, 0)
		go func() { _, _ = st.Write([]byte("body")) }()
		synctest.Wait() // the Write waits for the pipe
		_ = st.CloseWrite()
		synctest.Wait()
		p.expect(typeData, 0, 1, 4)
		p.expect(typeWindowUpdate, flagFIN, 1, 0)
		_ = s.Close()
	})
}

// Close wakes all Reads and Writes of this end.
func TestStreamCloseWakes(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(*Stream) error{
		"Read": func(s *Stream) error {
			_, err := s.Read(make([]byte, 1))
			return err
		},
		"Write": func(s *Stream) error {
			_, err := s.Write(make([]byte, 2*initialWindow))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := pipePair(t, nil)
				a, _ := streamPair(t, client, server)
				got := make(chan error, 2)
				for range 2 {
					go func() { got <- wait(a) }()
				}
				synctest.Wait()
				_ = a.Close()
				for range 2 {
					if err := <-got; !errors.Is(err, net.ErrClosed) {
						t.Errorf("%s = %v, want net.ErrClosed", name, err)
					}
				}
				if err := a.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("SetDeadline after Close = %v, want net.ErrClosed", err)
				}
			})
		})
	}
}

func TestStreamDeadlinesMove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipePair(t, nil)
		a, b := streamPair(t, client, server)
		start := time.Now()
		_ = a.SetDeadline(start.Add(time.Second))
		ended := make(chan error, 2)
		go func() {
			_, err := a.Read(make([]byte, 1))
			ended <- err
		}()
		go func() {
			_, err := a.Write(make([]byte, 2*initialWindow))
			ended <- err
		}()
		synctest.Wait()
		_ = a.SetDeadline(start.Add(time.Minute)) // later
		for range 2 {
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
				t.Errorf("%v after %v, want a timeout after a minute", err, time.Since(start))
			}
		}
		_ = a.SetReadDeadline(time.Time{}) // never
		mustWrite(t, b, "x")
		mustRead(t, a, "x")
		go func() {
			synctest.Wait()
			_ = b.SetReadDeadline(time.Unix(1, 0)) // sooner
		}()
		if _, err := io.CopyN(io.Discard, b, initialWindow+1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read = %v, want a timeout", err)
		}
	})
}

// Reset drops the peer's unread bytes and makes its Read and Write fail.
func TestStreamReset(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	a, b := streamPair(t, client, server)
	mustWrite(t, a, "unread")
	written := make(chan error, 1)
	go func() {
		_, err := b.Write(make([]byte, 2*initialWindow))
		written <- err
	}()
	mustRead(t, a, "\x00")
	_ = a.Reset()
	if err := <-written; !errors.Is(err, ErrReset) {
		t.Errorf("the peer's Write = %v, want ErrReset", err)
	}
	if n, err := b.Read(make([]byte, 9)); n != 0 || !errors.Is(err, ErrReset) {
		t.Errorf("the peer's Read = %d, %v, want 0, ErrReset", n, err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Reset = %v, want net.ErrClosed", err)
	}
	c, d := streamPair(t, server, client) // their frames arrive after the reset
	mustWrite(t, c, "x")
	mustRead(t, d, "x")
	if n, m := client.Stats().Streams, server.Stats().Streams; n != 1 || m != 1 {
		t.Errorf("the ends have %d and %d streams, want 1", n, m)
	}
	_ = b.Close()
}

// A stream that the peer doesn't close is reset, after CloseWrite and after Close.
func TestStreamHalfCloseTimeout(t *testing.T) {
	t.Parallel()
	for name, closeStream := range map[string]func(*Stream) error{"CloseWrite": (*Stream).CloseWrite, "Close": (*Stream).Close} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := pipePair(t, nil)
				a, b := streamPair(t, client, server)
				start := time.Now()
				_ = closeStream(a)
				mustWrite(t, b, "x")
				_, err := io.Copy(b, zeros{}) // until the reset
				if took := time.Since(start); !errors.Is(err, ErrReset) || took != halfCloseTimeout {
					t.Errorf("Write = %v after %v, want ErrReset after %v", err, took, halfCloseTimeout)
				}
				if n := client.Stats().Streams + server.Stats().Streams; n != 0 {
					t.Errorf("the ends have %d streams, want 0", n)
				}
				if _, err := io.ReadAll(a); name == "CloseWrite" && !errors.Is(err, ErrReset) {
					t.Errorf("Read = %v, want ErrReset", err)
				}
			})
		})
	}
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// If a session ends in order, Read returns the bytes that have arrived and then
// io.EOF.
func TestStreamReadsToTheSessionsEnd(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	p.sendData(flagSYN, 1, "xy")
	st, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagACK, 1, 0) // unread bytes would make TCP reset the connection
	_ = p.conn.Close()
	_ = waitErr(t, s)
	if got, err := io.ReadAll(st); string(got) != "xy" || err != nil {
		t.Errorf("ReadAll = %q, %v, want xy", got, err)
	}
	if _, err := st.Write([]byte("x")); !errors.Is(err, io.EOF) {
		t.Errorf("Write = %v, want why the session ended", err)
	}
}

func TestStreamAddrs(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	a, b := streamPair(t, client, server)
	c, d := streamPair(t, client, server)
	if a.ID() != 1 || c.ID() != 3 || b.ID() != 1 || d.ID() != 3 {
		t.Errorf("the IDs are %d, %d, %d and %d, want 1, 3, 1 and 3", a.ID(), c.ID(), b.ID(), d.ID())
	}
	for _, addr := range []net.Addr{a.LocalAddr(), b.RemoteAddr()} {
		want := client.LocalAddr().String() + "#1"
		if addr.String() != want || addr.Network() != "yamux" {
			t.Errorf("the address is %s %v, want yamux %s", addr.Network(), addr, want)
		}
	}
	if got := d.LocalAddr().String(); !strings.HasSuffix(got, "#3") || d.Session() != server {
		t.Errorf("LocalAddr() = %s, want the ID 3", got)
	}
}
