package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel"
)

const (
	// askAgain is how long a handshake waits before it asks the directory again.
	askAgain = 100 * time.Millisecond

	// hopLinger is how long one direction of a hop may go on after the end of the other: as
	// long as the sides take for the Close frames of a WebSocket.
	hopLinger = 5 * time.Second

	// The buffers of a direction of a hop, in bytes.
	smallHopBuffer = 4 * 1024
	largeHopBuffer = 128 * 1024

	maxURL         = 512
	maxRefusalText = 1024 // bytes of another relay's refusal
)

// CheckURL returns an error unless rawURL can be that of a relay: http or https, a host, and
// a path that needs no percent-encoding, with neither user nor query nor fragment.
func CheckURL(rawURL string) error {
	u, err := url.Parse(rawURL)
	switch {
	case len(rawURL) > maxURL:
		return fmt.Errorf("longer than %d bytes", maxURL)
	case err != nil:
		return errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		return errors.New("want http://HOST:PORT or https://HOST:PORT")
	case u.User != nil, strings.ContainsAny(rawURL, "?#"):
		return errors.New("want neither user, query nor fragment")
	case strings.Contains(u.Path, ".."), strings.ContainsFunc(u.EscapedPath(), func(c rune) bool {
		return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("/-_.~", c)
	}):
		return errors.New("want a path of letters, digits and -_.~/ only")
	}
	return nil
}

// misdirected means that another relay doesn't have the Worker any more or can't be reached:
// the directory may know a better one by now.
type misdirected struct{ error }

// hop sends the handshake of s on to the relay at base, and returns the response there. The
// error is a misdirected or the refusal there.
func (r *Relay) hop(req *http.Request, s *session, base string) (*tunnel.Upgrade, error) {
	out, err := r.hopRequest(req, s, base)
	if err != nil {
		return nil, err
	}
	resp, err := r.opts.Hop.RoundTrip(out) //nolint:bodyclose // unless it is a refusal, the body is the connection, which serveHop closes
	if err != nil {
		return nil, misdirected{unavailable("%s: the relay that it is connected to can't be reached: %w", s.name, err)}
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, hopRefusal(s, resp)
	}
	far, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		_ = resp.Body.Close()
		return nil, refuse(http.StatusBadGateway, "the other relay switches to another protocol")
	}
	stop := context.AfterFunc(req.Context(), func() { _ = far.Close() })
	return &tunnel.Upgrade{Hijack: func(near net.Conn) { //nolint:contextcheck // it takes as long as the hop
		if !stop() {
			_ = near.Close()
			return
		}
		r.serveHop(s, hop{near, far, base, out.Header.Get(HopHeader)}, resp.Header)
	}}, nil
}

// untrusted are the headers in which proxies describe the client.
var untrusted = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}

// hopRequest returns the request of a hop: that of the engineer, with its credentials, since
// the other relay decides again.
func (r *Relay) hopRequest(req *http.Request, s *session, base string) (*http.Request, error) {
	target := Path(strings.TrimSuffix(base, "/"), s.name)
	out, err := r.passOn(req.Context(), req, s.remote, target)
	if err != nil {
		return nil, err
	}
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", "websocket")
	out.Header.Set(HopHeader, rand.Text())
	return out, nil
}

// passOn returns the request for target, at another relay, that has the headers of req. remote
// is the client of req.
func (r *Relay) passOn(ctx context.Context, req *http.Request, remote, target string) (*http.Request, error) {
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil) //nolint:gosec // the directory has checked its base
	if err != nil {
		return nil, err
	}
	out.Header = req.Header.Clone()
	removeHopByHop(out.Header)
	for _, name := range untrusted {
		out.Header.Del(name)
	}
	setCert(out.Header, req)
	out.Header.Set(ViaHeader, r.opts.ID)
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	out.Header.Set("X-Forwarded-For", host)
	return out, nil
}

// removeHopByHop removes the headers that apply to one connection (RFC 9110 §7.6.1).
func removeHopByHop(h http.Header) {
	for _, list := range h.Values("Connection") {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
}

// hopRefusal returns the refusal of another relay.
func hopRefusal(s *session, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusalText))
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	if resp.StatusCode == http.StatusMisdirectedRequest {
		return misdirected{absent(s.name)}
	}
	if resp.StatusCode < http.StatusBadRequest {
		return refuse(http.StatusBadGateway, "the other relay answers %d", resp.StatusCode)
	}
	refusal := refuse(resp.StatusCode, "%s", bytes.TrimPrefix(line, []byte("wstun: "))) // is added again
	refusal.Header = http.Header{}
	for _, name := range []string{"Retry-After", "Www-Authenticate", RelayHeader} {
		if value := resp.Header.Get(name); value != "" {
			refusal.Header.Set(name, value)
		}
	}
	return refusal
}

// hop is a handshake that was sent on: the bytes of both connections are copied.
type hop struct {
	near         net.Conn
	far          io.ReadWriteCloser
	base, secret string // the URL of the other relay, and the value of HopHeader
}

func (h hop) close() {
	_ = h.near.Close()
	_ = h.far.Close()
}

// serveHop sends the response of the other relay back, and copies until both directions have
// ended. It closes both connections.
func (r *Relay) serveHop(s *session, h hop, header http.Header) {
	defer h.close()
	r.mu.Lock()
	closed, draining := r.closed, r.draining
	if !closed {
		r.hops[h] = struct{}{}
		r.running.Add(1) // before Close waits
	}
	r.mu.Unlock()
	if closed {
		return
	}
	defer r.running.Done()
	if draining { // since the handshake
		r.running.Go(func() { r.moveHop(context.Background(), h) })
	}
	s.begin = time.Now()
	rec := s.newRecord("hop")
	ends := make(chan error, 2) // of both directions
	go func() {
		var err error
		rec.Up, err = copyHop(h.far, h.near)
		closeWrite(h.far)
		ends <- err
	}()
	go func() {
		err := writeSwitching(h.near, header, r.opts.ID)
		if err == nil {
			rec.Down, err = copyHop(h.near, h.far)
		}
		closeWrite(h.near)
		ends <- err
	}()
	err := <-ends
	timer := time.AfterFunc(hopLinger, h.close)
	if second := <-ends; timer.Stop() && err == nil {
		err = second
	}
	r.mu.Lock()
	delete(r.hops, h)
	r.mu.Unlock()
	if r.opts.Observe != nil {
		rec.End = time.Now()
		if err != nil {
			rec.Reason = err.Error()
		}
		r.opts.Observe(rec)
	}
}

// copyHop is io.Copy with a large buffer while there are many bytes, and otherwise with a
// small one. Soon after a burst, the Pings of the session make it return the large one.
func copyHop(dst io.Writer, src io.Reader) (n int64, err error) {
	small := make([]byte, smallHopBuffer)
	buf := small
	for {
		r, err := src.Read(buf)
		if r > 0 {
			w, werr := dst.Write(buf[:r])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		wasLarge := len(buf) > len(small)
		switch large := err == nil && r >= len(small); {
		case large && !wasLarge:
			buf = hopBuffers.Get().(*[largeHopBuffer]byte)[:] //nolint:errcheck // the pool holds nothing else
		case !large && wasLarge:
			hopBuffers.Put((*[largeHopBuffer]byte)(buf))
			buf = small
		}
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

var hopBuffers = sync.Pool{New: func() any { return new([largeHopBuffer]byte) }}

// writeSwitching writes the response to a handshake.
func writeSwitching(conn net.Conn, header http.Header, via string) error {
	w := bufio.NewWriter(conn)
	removeHopByHop(header)
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
	header.Set(ViaHeader, via)
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = header.Write(w)
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

func closeWrite(conn any) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
