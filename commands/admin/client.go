package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
)

// answerTimeout is how long a process may take for an answer.
const answerTimeout = 5 * time.Second

// Client asks one running wstun.
type Client struct {
	name  string // for errors
	url   string
	token string
	http  *http.Client
}

// newSocketClient returns a client for the unix socket at path.
func newSocketClient(path string) *Client {
	return newClient("unix:"+path, "http://wstun", "", func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	})
}

func newClient(name, baseURL, token string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Client {
	return &Client{name, baseURL, token, &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true, ResponseHeaderTimeout: answerTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Running returns a client for each running wstun of this user, the lowest process ID first.
func Running() []*Client {
	var clients []*Client
	for _, path := range sockets(0) {
		clients = append(clients, newSocketClient(path))
	}
	return clients
}

// Attach returns clients for the processes that a value of --attach means: a process ID, the
// address of --admin, or the path of --control as unix:PATH. token is for an address; it may be empty.
// The error is a *usage.Error.
func Attach(attach, token string) ([]*Client, error) {
	if pid, err := strconv.Atoi(attach); err == nil {
		var clients []*Client
		for _, path := range sockets(pid) {
			clients = append(clients, newSocketClient(path))
		}
		if len(clients) == 0 {
			return nil, &usage.Error{Err: fmt.Errorf("--attach %d: no wstun of this user has this process ID and a control socket", pid), Advice: runningHint()}
		}
		return clients, nil
	}
	if scheme, _, ok := strings.Cut(attach, "://"); ok {
		u, err := url.Parse(attach)
		if err != nil || u.Host == "" || scheme != "http" && scheme != "https" {
			return nil, usage.Errorf("--attach %s: want a process ID, host:port, unix:PATH or the URL of --admin", attach)
		}
		if _, value, ok := strings.Cut(u.Fragment, "token="); ok && token == "" {
			token = value
		}
		return []*Client{newClient(attach, scheme+"://"+u.Host, token, nil)}, nil
	}
	addr, err := outbound.ParseAddr(attach)
	if err != nil {
		return nil, &usage.Error{Err: fmt.Errorf("--attach %w", err), Advice: "want a process ID, host:port or unix:PATH"}
	}
	if addr.Network == "unix" {
		return []*Client{newSocketClient(addr.Address)}, nil
	}
	return []*Client{newClient(attach, "http://"+addr.String(), token, nil)}, nil
}

// runningHint names the running processes.
func runningHint() string {
	var pids []string
	for _, path := range sockets(0) {
		pids = append(pids, strconv.Itoa(socketPID(path)))
	}
	if len(pids) == 0 {
		return "no wstun of this user is running"
	}
	return "running: " + strings.Join(pids, ", ")
}

// request sends a request, and returns the response if its status is 2xx. The caller closes
// its body.
func (c *Client) request(ctx context.Context, method, path string) (*http.Response, error) {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil { // without the URL
			err = cause
		}
		return nil, &clientError{c.name, netdiag.Cause(err), 0}
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	const longest = 400
	text, _ := io.ReadAll(io.LimitReader(resp.Body, longest))
	line, _, _ := strings.Cut(strings.TrimPrefix(string(text), "wstun: "), "\n")
	return nil, &clientError{c.name, fmt.Errorf("%d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), line), resp.StatusCode}
}

// clientError is an error of a Client.
type clientError struct {
	name string // of the process
	err  error
	code int // the HTTP status; 0: there is none
}

func (e *clientError) Error() string { return e.name + ": " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// Hint returns advice, "" if there is none.
func (e *clientError) Hint() string {
	switch e.code {
	case http.StatusUnauthorized:
		return "give the token that the process has printed, or its file, with --admin-token-file"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "is this the address of --admin, and the version of wstun there the same?"
	case 0:
		return runningHint()
	}
	return ""
}

// Refused reports whether the process has refused the token.
func (e *clientError) Refused() bool {
	return e.code == http.StatusUnauthorized || e.code == http.StatusForbidden
}

// Name returns the address of the process.
func (c *Client) Name() string { return c.name }

// IsGone reports whether err means that the process has ended.
func IsGone(err error) bool {
	return isRefused(err) || errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Status asks for the state of the process.
func (c *Client) Status(ctx context.Context) (*monitor.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.request(ctx, http.MethodGet, "/api/v1/status")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	const largest = 64 << 20
	st := &monitor.Status{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, largest)).Decode(st); err != nil {
		return nil, &clientError{c.name, fmt.Errorf("not the answer of a wstun: %w", err), 0}
	}
	return st, nil
}

// Events asks for a live recording, and for the number of calls that were open before, which
// it lacks. The caller closes the recording.
func (c *Client) Events(ctx context.Context, o tracing.AttachOptions) (events io.ReadCloser, open int, err error) {
	q := url.Values{"filter": o.Filter, "redact": o.Redact}
	if !o.Messages {
		q.Set("messages", "0")
	}
	resp, err := c.request(ctx, http.MethodGet, "/api/v1/events?"+q.Encode())
	if err != nil {
		return nil, 0, err
	}
	open, _ = strconv.Atoi(resp.Header.Get(openCallsHeader))
	return resp.Body, open, nil
}

// HasPage reports whether the process has a page with calls.
func (c *Client) HasPage(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.request(ctx, http.MethodGet, "/api/v1/")
	if ce, ok := errors.AsType[*clientError](err); ok && ce.code == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, resp.Body.Close()
}

// Address makes r a request to the process.
func (c *Client) Address(r *http.Request) {
	u, err := url.Parse(c.url)
	if err != nil {
		return // it has been used before
	}
	r.URL.Scheme, r.URL.Host, r.Host = u.Scheme, u.Host, u.Host
	r.Header.Del("Origin") // the caller has checked it
	r.Header.Del("Authorization")
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
}

// Transport returns the transport to the process.
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// Reconnect makes the gRPC clients of the process begin new connections.
func (c *Client) Reconnect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.request(ctx, http.MethodPost, "/api/v1/reconnect")
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}
