package admin

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
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

// Running returns a client for each running wstun of this user, the lowest process ID first. Those
// of the units of systemd follow for root.
func Running(ctx context.Context) []*Client {
	var clients []*Client
	for _, path := range slices.Concat(sockets(ctx, 0), socketsOfUnits(ctx)) {
		clients = append(clients, newSocketClient(path))
	}
	return clients
}

// Attach returns clients for the processes that a value of --attach means: a process ID, the
// address of --admin, or the path of --control as unix:PATH. token is for an address; it may be empty.
// The error is a *usage.Error, unless there is no such process.
func Attach(ctx context.Context, attach, token string) ([]*Client, error) {
	isURL, fragment := strings.Contains(attach, "://"), ""
	if isURL {
		attach, fragment, _ = strings.Cut(attach, "#") // which has the token
	}
	wanted := usage.Errorf("--attach %s: want a process ID, host:port, unix:PATH or the URL of --admin", attach)
	if pid, err := strconv.Atoi(attach); err == nil {
		if pid <= 0 {
			return nil, wanted
		}
		var clients []*Client
		for _, path := range sockets(ctx, pid) {
			clients = append(clients, newSocketClient(path))
		}
		if len(clients) == 0 {
			clients = unitWith(ctx, pid)
		}
		if len(clients) == 0 {
			return nil, &notFoundError{pid, !exists(pid)}
		}
		return clients, nil
	}
	if isURL {
		u, err := url.Parse(attach)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, wanted
		}
		base := u.Scheme + "://" + u.Host
		token = cmp.Or(token, strings.TrimPrefix(fragment, "token="))
		return []*Client{newClient(base, base, token, nil)}, nil
	}
	addr, err := outbound.ParseAddr(attach)
	if err != nil {
		return nil, wanted
	}
	if addr.Network == "unix" {
		return []*Client{newSocketClient(addr.Address)}, nil
	}
	return []*Client{newClient(attach, "http://"+addr.String(), token, nil)}, nil
}

// unitWith returns a client for the unit of systemd with a process ID, if there is one.
func unitWith(ctx context.Context, pid int) []*Client {
	for _, path := range socketsOfUnits(ctx) {
		c := newSocketClient(path)
		if st, err := c.Status(ctx); err == nil && st.PID == pid {
			return []*Client{c}
		}
	}
	return nil
}

// exists reports whether there is a process with this ID.
func exists(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// notFoundError says that no wstun that can be asked has this process ID.
type notFoundError struct {
	pid   int
	ended bool // there is no process with this ID at all
}

func (e *notFoundError) Error() string {
	if e.ended {
		return fmt.Sprintf("--attach %d: no process has this ID; it may have ended", e.pid)
	}
	return fmt.Sprintf("--attach %d: no wstun of this user has this process ID and a control socket", e.pid)
}

// Ended reports whether the process has ended, so that there is nothing to wait for.
func (e *notFoundError) Ended() bool { return e.ended }

// Hint returns advice.
func (*notFoundError) Hint() string { return runningHint() }

// runningHint names the running processes.
func runningHint() string {
	var running []string
	for _, path := range sockets(context.Background(), 0) {
		running = append(running, strconv.Itoa(socketPID(path)))
	}
	for _, path := range socketsOfUnits(context.Background()) {
		running = append(running, "unix:"+path)
	}
	if len(running) == 0 {
		return "no wstun of this user is running"
	}
	return "running: " + strings.Join(running, ", ")
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
		switch err = netdiag.Cause(err); {
		case isTimeout(err):
			err = errNoAnswer
		case isForeign(err):
			err = errForeign
		}
		return nil, &clientError{name: c.name, err: err}
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	const longest = 400
	text, _ := io.ReadAll(io.LimitReader(resp.Body, longest))
	line, isWstun := strings.CutPrefix(string(text), "wstun: ")
	line, _, _ = strings.Cut(line, "\n")
	reason := strings.TrimSuffix(fmt.Sprintf("%d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), strings.TrimSpace(line)), ": ")
	return nil, &clientError{c.name, errors.New(reason), resp.StatusCode, isWstun}
}

var (
	errNoAnswer = fmt.Errorf("no answer within %v", answerTimeout)
	errForeign  = errors.New("it doesn't speak HTTP/1.1")
)

// isForeign reports whether the server speaks another protocol, such as HTTP/2, and perhaps
// before the client. net/http has no type for these errors.
func isForeign(err error) bool {
	return strings.Contains(err.Error(), "malformed HTTP") || strings.Contains(err.Error(), "readLoopPeekFailLocked")
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// clientError is an error of a Client.
type clientError struct {
	name    string // of the process
	err     error
	code    int  // the HTTP status; 0: there is none
	isWstun bool // the reason is that of a wstun
}

func (e *clientError) Error() string { return e.name + ": " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// Hint returns advice, "" if there is none.
func (e *clientError) Hint() string {
	switch {
	case e.code == http.StatusUnauthorized:
		return "give the token that the process has printed, or its file, with --admin-token-file"
	case e.code == http.StatusMisdirectedRequest:
		return "allow the name with --admin-host there, or attach to another one"
	case e.isWstun:
		return ""
	case e.code == http.StatusBadRequest && strings.Contains(e.err.Error(), "HTTPS"): // the text of net/http
		return "https://ADDR asks by TLS"
	case netdiag.Is(e.err, syscall.ECONNREFUSED), errors.Is(e.err, fs.ErrNotExist):
		return runningHint()
	case errors.Is(e.err, fs.ErrPermission):
		return "another user's process: ask as that user, or for its --admin address"
	case errors.Is(e.err, errNoAnswer):
		return "the process may be stopped or overloaded"
	case isUnknownAuthority(e.err):
		return "SSL_CERT_FILE=PATH names the certificate of the authority"
	}
	return "is this the address of --admin, and the version of wstun there the same?"
}

func isUnknownAuthority(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// Refused reports whether the process has refused the token.
func (e *clientError) Refused() bool {
	return e.code == http.StatusUnauthorized || e.code == http.StatusForbidden
}

// Name returns the address of the process.
func (c *Client) Name() string { return c.name }

// IsGone reports whether err means that the process has ended.
func IsGone(err error) bool {
	return netdiag.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
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
	err = json.NewDecoder(io.LimitReader(resp.Body, largest)).Decode(st)
	if err == nil && (st.PID == 0 || slices.ContainsFunc(st.Ended, func(s monitor.Session) bool { return s.Ended == nil })) {
		err = errors.New("members are missing")
	}
	if err != nil {
		return nil, &clientError{name: c.name, err: fmt.Errorf("not the answer of a wstun: %w", err)}
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
