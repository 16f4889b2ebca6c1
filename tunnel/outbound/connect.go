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
)

// maxConnectHeader is how many bytes of a proxy's response to CONNECT are read.
const maxConnectHeader = 64 << 10

var (
	errProxyNoHTTP  = errors.New("its answer is not HTTP")
	errProxyTooLong = fmt.Errorf("its answer is longer than %d KiB", maxConnectHeader>>10)
)

// proxyStatusError is the status code of a response to CONNECT other than 2xx.
type proxyStatusError int

func (e proxyStatusError) Error() string {
	return fmt.Sprintf("%d %s", int(e), cmp.Or(http.StatusText(int(e)), "unknown status"))
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
	for status := 0; status < 200; { // skips 1xx responses
		status, err = readConnectStatus(textproto.NewReader(buffered))
		if err != nil && limited.N == 0 {
			return nil, errProxyTooLong
		}
		if err != nil {
			return nil, err
		}
	}
	return buffered.Peek(buffered.Buffered())
}

// readConnectStatus reads a status line, which may lack the reason phrase, and
// skips the header. A status above 299 is an error.
func readConnectStatus(r *textproto.Reader) (int, error) {
	line, err := r.ReadLine()
	if err != nil {
		return 0, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	status, err := strconv.Atoi(code)
	if _, _, ok := http.ParseHTTPVersion(version); !ok || err != nil || len(code) != 3 || status < 100 {
		return 0, errProxyNoHTTP
	}
	if status >= 300 {
		return 0, proxyStatusError(status)
	}
	for line != "" && err == nil {
		line, err = r.ReadLine()
	}
	return status, err
}

// aheadConn is a connection whose first bytes have already been read.
type aheadConn struct {
	net.Conn
	r io.Reader // these bytes, then Conn
}

func (c *aheadConn) Read(p []byte) (int, error) { return c.r.Read(p) }
