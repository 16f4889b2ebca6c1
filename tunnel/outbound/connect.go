package outbound

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxConnectHeader is how many bytes of a proxy's response to CONNECT are read.
const maxConnectHeader = 64 << 10

var (
	errProxyNoHTTP  = errors.New("its answer is not HTTP")
	errProxyTooLong = fmt.Errorf("its answer is longer than %d KiB", maxConnectHeader>>10)
)

// proxyStatusError is a response to CONNECT other than 2xx.
type proxyStatusError struct {
	code       int
	schemes    []string      // of Proxy-Authenticate
	retryAfter time.Duration // of Retry-After
}

func (e *proxyStatusError) Error() string {
	text := fmt.Sprintf("%d %s", e.code, cmp.Or(http.StatusText(e.code), "unknown status"))
	if e.code == http.StatusProxyAuthRequired && len(e.schemes) > 0 {
		text += ": it wants " + strings.Join(e.schemes, ", ")
	}
	return text
}

// connectHTTP sends a CONNECT for addr to an HTTP proxy (RFC 9110 §9.3.6), and returns
// the connection to addr.
func connectHTTP(conn net.Conn, user *url.Userinfo, addr string) (net.Conn, error) {
	r := http.Request{Method: http.MethodConnect, URL: &url.URL{}, Host: addr, Header: http.Header{}}
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		r.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := r.Write(conn); err != nil {
		return nil, err
	}
	ahead, err := readConnectResponse(conn)
	if err != nil {
		return nil, err
	}
	return &aheadConn{conn, io.MultiReader(bytes.NewReader(ahead), conn)}, nil
}

// readConnectResponse reads the response to a CONNECT from r. It returns the bytes that
// it has read after the header, which are from the target.
func readConnectResponse(r io.Reader) (ahead []byte, err error) {
	limited := &io.LimitedReader{R: r, N: maxConnectHeader}
	buffered := bufio.NewReader(limited)
	err = SkipInterim(buffered)
	if err == nil {
		err = readConnectHeader(textproto.NewReader(buffered))
	}
	if _, refused := errors.AsType[*proxyStatusError](err); err != nil && !refused && limited.N == 0 {
		return nil, errProxyTooLong
	}
	if err != nil {
		return nil, err
	}
	return buffered.Peek(buffered.Buffered())
}

// readConnectHeader reads a status line, which may lack the reason phrase, and the
// header. A status other than 2xx is a *proxyStatusError.
func readConnectHeader(r *textproto.Reader) error {
	line, err := r.ReadLine()
	if err != nil {
		return err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	status, err := strconv.Atoi(code)
	if _, _, ok := http.ParseHTTPVersion(version); !ok || err != nil || len(code) != 3 || status < 100 {
		return errProxyNoHTTP
	}
	header := http.Header{}
	for line != "" && err == nil {
		line, err = r.ReadLine()
		name, value, _ := strings.Cut(line, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	if status < 200 || status > 299 { // even if the header is incomplete
		return &proxyStatusError{status, AuthSchemes(header.Values("Proxy-Authenticate")), RetryAfter(status, header)}
	}
	return err
}

// aheadConn is a connection whose first bytes have already been read.
type aheadConn struct {
	net.Conn
	r io.Reader // these bytes, then Conn
}

func (c *aheadConn) Read(p []byte) (int, error) { return c.r.Read(p) }
