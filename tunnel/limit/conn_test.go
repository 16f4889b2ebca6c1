package limit

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// pieces is a net.Conn that returns data in pieces of the given size.
type pieces struct {
	net.Conn
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b, p.data[:min(p.size, len(p.data))])
	if p.data = p.data[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) { return len(b), nil }

func (p *pieces) Close() error { return nil }

// preface is the beginning of a client's connection.
func preface() []byte {
	return append([]byte(http2.ClientPreface), testFrame(http2.FrameSettings, 0, 0, 0)...)
}

// atOnce is a net.Conn that returns its last data with io.EOF.
type atOnce struct {
	pieces
	data [][]byte
}

func (a *atOnce) Read(b []byte) (int, error) {
	if len(a.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, a.data[0])
	if a.data = a.data[1:]; len(a.data) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func TestReadReturnsAllBeforeError(t *testing.T) {
	t.Parallel()
	block := headerBlock(1, 500, true)
	want := append(preface(), block...)
	c := newConn(&atOnce{data: [][]byte{preface(), block[:300], block[300:]}}, newSession(t, 64*mib), false)
	var got bytes.Buffer
	if _, err := io.Copy(&got, c); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, %v, want %d", got.Len(), err, len(want))
	}
}

// headerBlock returns the frames of a header block on stream 1 with n bytes in each.
func headerBlock(frames, n int, ends bool) []byte {
	block := testFrame(http2.FrameHeaders, 0, 1, n)
	for i := range frames {
		flags := http2.Flags(0)
		if ends && i == frames-1 {
			flags = http2.FlagContinuationEndHeaders
		}
		block = append(block, testFrame(http2.FrameContinuation, flags, 1, n)...)
	}
	return block
}

func TestReadHoldsHeaderBlock(t *testing.T) {
	t.Parallel()
	begun := append(preface(), headerBlock(3, 500, false)...)
	whole := slices.Concat(preface(), headerBlock(3, 500, true), testFrame(http2.FrameData, http2.FlagDataEndStream, 1, 7))
	for _, size := range []int{1, 2, 9, 10, 700, 4096} {
		for _, buffer := range []int{1, 100, 4096} {
			for _, test := range []struct{ sent, want []byte }{{whole, whole}, {begun, preface()}} {
				s := newSession(t, 64*mib)
				c := newConn(&pieces{data: test.sent, size: size}, s, false)
				var got []byte
				for b := make([]byte, buffer); ; {
					n, err := c.Read(b)
					got = append(got, b[:n]...)
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				rest, ok := bytes.CutPrefix(got, test.want)
				if !ok || len(rest) >= h2.HeaderLen { // a frame header may begin
					t.Errorf("pieces of %d, buffer of %d: %d bytes, want %d", size, buffer, len(got), len(test.want))
				}
				if c.Close(); s.blocks != 0 {
					t.Errorf("%d bytes of header blocks are left", s.blocks)
				}
			}
		}
	}
}

func TestReadRefusesHeaderBlock(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int64{"one": 0, "beside those of other connections": 980_000} {
		s := New(&Options{HeaderList: 4096 + others, SessionHeaderLists: mib}).NewSession() // others: no limit for one
		defer s.Close()
		s.blocks = others
		c := newConn(&pieces{data: append(preface(), headerBlock(100, 1000, true)...), size: 4096}, s, false)
		read, err := io.Copy(io.Discard, c)
		if !errors.Is(err, errHeaderBlock) || read != int64(len(preface())) {
			t.Errorf("%s: %d bytes, %v", name, read, err)
		}
		if c.Close(); s.blocks != others {
			t.Errorf("%s: %d bytes of header blocks are left", name, s.blocks-others)
		}
	}
}

// While a Write is blocked, few replies to control frames can be queued.
func TestReadWaitsForWrite(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	c := newConn(near, newSession(t, 64*mib), false)
	var running sync.WaitGroup
	running.Go(func() { _, _ = c.Write(testFrame(http2.FrameSettings, 0, 0, 0)) }) // far doesn't read
	tunneltest.Eventually(t, "Write is blocked", func() bool {
		free := c.wmu.TryLock()
		if free {
			c.wmu.Unlock()
		}
		return !free
	})
	running.Go(func() { _, _ = io.Copy(io.Discard, c) })
	_, err := far.Write(preface())
	sent := 0
	for ; err == nil && sent < 4*maxControl; sent++ {
		_ = far.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, err = far.Write(testFrame(http2.FramePing, 0, 0, 8))
	}
	if sent > maxControl+10 {
		t.Errorf("%d frames are received while Write is blocked", sent)
	}
	if _, err := far.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	_ = far.SetWriteDeadline(time.Time{})
	if _, err := far.Write(testFrame(http2.FramePing, 0, 0, 8)); err != nil {
		t.Error("no more frames are received after Write: ", err)
	}
	c.Close()
	far.Close()
	running.Wait()
}

// Whatever a peer sends, Read returns a prefix of it, without an incomplete header block.
func FuzzRead(f *testing.F) {
	f.Add(slices.Concat(preface(), headerBlock(2, 10, true), testFrame(http2.FrameData, 0, 1, 7)), uint8(3), false)
	f.Add(slices.Concat(testFrame(http2.FrameSettings, 0, 0, 0), headerBlock(2, 10, false)), uint8(200), true)
	f.Fuzz(func(t *testing.T, data []byte, size uint8, isClient bool) {
		s := New(&Options{HeaderList: 1000, SessionHeaderLists: 100_000, SessionMemory: mib}).NewSession()
		defer s.Close()
		c := newConn(&pieces{data: data, size: int(size) + 1}, s, isClient)
		if isClient {
			_, _ = c.Write([]byte(http2.ClientPreface))
			_, _ = c.Write(headerBlock(0, 10, false)) // opens stream 1
		}
		got, err := io.ReadAll(c)
		if !bytes.HasPrefix(data, got) {
			t.Errorf("of %x, Read returns %x, %v", data, got, err)
		}
		c.Close()
		if s.blocks != 0 || s.messages != 0 {
			t.Errorf("left: %d bytes of header blocks, %d of messages", s.blocks, s.messages)
		}
	})
}
