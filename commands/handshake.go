package commands

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/wstun/wstun/tunnel"
)

// handshakeOptions reads the flags of the handshake into e, those of the dialing
// side among them.
func (e *endpoint) handshakeOptions(c *cli.Context) error {
	var err error
	if e.token, err = newToken(c); err != nil {
		return err
	}
	e.tokenHeader = c.String("token-header")
	if e.tokenHeader != "" && !httpguts.ValidHeaderFieldName(e.tokenHeader) {
		return usagef("--token-header %q: not a header name", e.tokenHeader)
	}
	if e.tokenHeader != "" && e.token == nil {
		return usagef("--token-header %s without a token: give it with --token-file or WSTUN_TOKEN", e.tokenHeader)
	}
	lines, err := headerLines(c, "header")
	if err != nil {
		return err
	}
	header, err := parseHeaders("--header", lines)
	if err != nil {
		return err
	}
	if e.tls, err = newTLSFiles("--", c.Path("cert"), c.Path("key"), c.Path("cacert")); err != nil {
		return err
	}
	e.tls.serverName, e.tls.insecure = c.String("servername"), c.Bool("insecure")
	if err := notNegative(c, "connect-timeout"); err != nil {
		return err
	}
	for _, name := range c.StringSlice("subprotocol") {
		if !httpguts.ValidHeaderFieldName(name) { // a token, too (RFC 6455 §4.1)
			return usagef("--subprotocol %q: not a subprotocol's name; of several, give each a flag of its own", name)
		}
	}
	e.dialOptions = tunnel.DialOptions{
		Header:         header,
		Proxy:          c.String("proxy"),
		Subprotocols:   c.StringSlice("subprotocol"),
		ConnectTimeout: orOff(c.Duration("connect-timeout")),
	}
	return nil
}

var variable = regexp.MustCompile(`\$\{\w+\}`)

// headerLines returns the values of a flag, with ${VARIABLE} replaced if that is
// asked for.
func headerLines(c *cli.Context, flag string) ([]string, error) {
	lines := slices.Clone(c.StringSlice(flag))
	if !c.Bool("expand-headers") {
		return lines, nil
	}
	var err error
	for i, line := range lines {
		lines[i] = variable.ReplaceAllStringFunc(line, func(v string) string {
			value, ok := os.LookupEnv(v[2 : len(v)-1])
			if !ok {
				err = usagef("--%s: there is no variable %s", flag, v)
			}
			return value
		})
	}
	return lines, err
}

func parseHeaders(flag string, lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		value = textproto.TrimString(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			name, _, _ = strings.Cut(name, " ") // the rest may be a secret
			return nil, &usageError{err: fmt.Errorf("%s %q: not a header", flag, name), hint: "want 'Name: value'"}
		}
		if strings.HasPrefix(http.CanonicalHeaderKey(name), "Sec-Websocket-") || strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Upgrade") {
			return nil, usagef("%s %s: the handshake sets it", flag, name)
		}
		h.Add(name, value)
	}
	return h, nil
}

// newToken returns the token of --token-file, or of WSTUN_TOKEN, or nil.
func newToken(c *cli.Context) (*source[string], error) {
	if path := c.Path("token-file"); path != "" {
		s, err := newSource(func() (string, error) {
			text, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			return checkToken(strings.TrimRight(string(text), "\r\n"))
		}, path)
		if err != nil {
			return nil, usagef("--token-file %s: %w", path, err)
		}
		return s, nil
	}
	if token := os.Getenv("WSTUN_TOKEN"); token != "" {
		s, err := newSource(func() (string, error) { return checkToken(token) })
		if err != nil {
			return nil, usagef("WSTUN_TOKEN: %w", err)
		}
		return s, nil
	}
	return nil, nil //nolint:nilnil // no token, no error
}

func checkToken(token string) (string, error) {
	switch {
	case token == "":
		return "", errors.New("it is empty")
	case !httpguts.ValidHeaderFieldValue(token), token != strings.TrimSpace(token):
		return "", errors.New("it can't be sent in a header: it has control characters, or blanks around it")
	}
	return token, nil
}

// refresh puts the certificates and the token as they are now into opts.
func (e *endpoint) refresh(opts *tunnel.DialOptions, logger *slog.Logger) {
	opts.TLS = e.tls.client(logger)
	if e.token == nil {
		return
	}
	opts.Header = opts.Header.Clone()
	if e.tokenHeader != "" {
		opts.Header.Set(e.tokenHeader, e.token.get(logger))
	} else {
		opts.Header.Set("Authorization", "Bearer "+e.token.get(logger))
	}
}
