package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// Get sends a GET request to rawURL as Dial sends its handshake: through the same proxy, with
// the same TLS, header and time limit. It returns the body of a response with status code 200,
// which must have at most limit bytes. The error is a *DialError, with a *HandshakeError for
// another status code. opts may be nil.
func Get(ctx context.Context, rawURL string, opts *DialOptions, limit int64) ([]byte, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	if timeout := orDefault(opts.ConnectTimeout, DefaultConnectTimeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, netdiag.TimeoutError(timeout))
		defer cancel()
	}
	u, err := outbound.ParseURL(rawURL)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	target, header := request(u, opts.Header)
	target.Scheme = "http" // TLS is below the connection
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return DialTransport(ctx, rawURL, opts)
		},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, &DialError{Err: err}
	}
	req.Header = header
	if host := header.Get("Host"); host != "" { // as gorilla does
		req.Host = host
	}
	resp, err := client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, &DialError{outbound.RedactURL(rawURL), newHandshakeError(resp, u, header), secrets(u, header)}
		}
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err == nil && int64(len(body)) <= limit {
			return body, nil
		}
		if err == nil {
			err = fmt.Errorf("the answer has more than %d bytes", limit)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if own, ok := errors.AsType[*DialError](err); ok {
		return nil, own
	}
	return nil, &DialError{outbound.RedactURL(rawURL), err, secrets(u, header)}
}
