package endpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"os"
	"regexp"
	"strings"

	"github.com/fullstorydev/grpcurl"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/outbound"
)

var variable = regexp.MustCompile(`\$\{\w+\}`)

// Lines returns the values of a header flag, with each ${VARIABLE} replaced by its
// value if expand is set. The values of variables are not expanded again.
func Lines(flag string, values []string, expand bool) ([]string, error) {
	var err error
	lines := make([]string, len(values))
	for i, line := range values {
		lines[i] = line
		if !expand {
			continue
		}
		lines[i] = variable.ReplaceAllStringFunc(line, func(v string) string {
			value, ok := os.LookupEnv(v[2 : len(v)-1])
			if !ok {
				err = usage.Errorf("--%s: there is no variable %s", flag, v)
			}
			return value
		})
	}
	return lines, err
}

// parseHeader parses the lines 'Name: value' of a flag.
func parseHeader(flag string, lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		value = textproto.TrimString(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			name, _, _ = strings.Cut(name, " ") // the rest may be a secret
			return nil, &usage.Error{Err: fmt.Errorf("--%s %q: not a header", flag, name), Advice: "want 'Name: value'"}
		}
		h.Add(name, value)
	}
	return h, nil
}

// handshakeHeader parses the lines of --header for a handshake. Hosts in it become ASCII.
func handshakeHeader(lines []string) (http.Header, error) {
	header, err := parseHeader("header", lines)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		if err := checkName("header", name); err != nil {
			return nil, err
		}
		if (name == "Host" || name == "User-Agent") && len(values) > 1 {
			return nil, usage.Errorf("--header %s: given more than once", name)
		}
		switch name {
		case "Host":
			values[0], err = outbound.ASCIIHost(values[0])
			if err == nil && (values[0] == "" || !httpguts.ValidHostHeader(values[0])) {
				err = fmt.Errorf("%q: not a host", values[0])
			}
		case "Origin":
			if scheme, host, ok := strings.Cut(values[0], "://"); ok {
				host, err = outbound.ASCIIHost(host)
				values[0] = scheme + "://" + host
			}
		}
		if err != nil {
			return nil, usage.Errorf("--header %s: %w", name, err)
		}
	}
	return header, nil
}

// checkName refuses the name of a header that isn't sent as given, or not at all.
func checkName(flag, name string) error {
	switch name = http.CanonicalHeaderKey(name); {
	case name == "Sec-Websocket-Protocol":
		return &usage.Error{Err: fmt.Errorf("--%s %s: the handshake sets it", flag, name), Advice: "give the subprotocols with --subprotocol"}
	case strings.HasPrefix(name, "Sec-Websocket-"), name == "Connection", name == "Upgrade":
		return usage.Errorf("--%s %s: the handshake sets it", flag, name)
	case name == "Content-Length", name == "Transfer-Encoding", name == "Trailer":
		return usage.Errorf("--%s %s: the handshake has no body", flag, name)
	}
	return nil
}

// Metadata parses the lines 'name: value' of a flag as gRPC metadata, as [Lines]
// expands them, and adds the values to secrets, which may be nil. Binary values, whose
// names end in -bin, are in base64, or stand for themselves if they aren't.
func Metadata(flag string, values []string, expand bool, secrets *escape.Secrets) (metadata.MD, error) {
	lines, err := Lines(flag, values, expand)
	if err != nil {
		return nil, err
	}
	header, err := parseHeader(flag, lines)
	if err != nil {
		return nil, err
	}
	secrets.AddHeader(header)
	md := grpcurl.MetadataFromHeaders(lines)
	for name, values := range md {
		for _, value := range values {
			if err := call.CheckMetadata(name, value); err != nil {
				return nil, usage.Errorf("--%s %w", flag, err)
			}
		}
		if reason := call.Reserved(name); reason != "" {
			return nil, &usage.Error{Err: fmt.Errorf("--%s %s: %s", flag, name, reason), Advice: setByGRPCHints[name]}
		}
	}
	return md, nil
}

var setByGRPCHints = map[string]string{
	"grpc-timeout": "give the time with --max-time",
	"user-agent":   "put a text before it with --user-agent",
}

// newToken returns the token in the file, or that of WSTUN_TOKEN if path is empty;
// nil if there is none. It adds the token to secrets, and later each new one.
func newToken(path string, secrets *escape.Secrets) (*source[string], error) {
	if path != "" {
		return tokenSource("token-file", path, secrets)
	}
	if token := os.Getenv("WSTUN_TOKEN"); token != "" {
		s, err := newSource(func() (string, error) { return checkToken(token, secrets) })
		if err != nil {
			return nil, usage.Errorf("WSTUN_TOKEN: %w", err)
		}
		return s, nil
	}
	return nil, nil //nolint:nilnil // no token, no error
}

func tokenSource(flag, path string, secrets *escape.Secrets) (*source[string], error) {
	s, err := newSource(func() (string, error) {
		text, err := textfile.Read(path)
		if err != nil {
			return "", err
		}
		return checkToken(strings.TrimRight(string(text), "\r\n"), secrets)
	}, path)
	if err != nil {
		return nil, usage.Errorf("--%s %s: %w", flag, path, err)
	}
	return s, nil
}

// TokenFile returns a function that returns the token in the file at path, the value of a
// flag, as it is now. It adds the token to secrets.
func TokenFile(flag, path string, secrets *escape.Secrets) (token func(*slog.Logger) string, err error) {
	s, err := tokenSource(flag, path, secrets)
	if err != nil {
		return nil, err
	}
	return s.get, nil
}

func checkToken(token string, secrets *escape.Secrets) (string, error) {
	secrets.Add(token)
	switch {
	case token == "":
		return "", errors.New("it is empty")
	case !httpguts.ValidHeaderFieldValue(token), token != strings.TrimSpace(token):
		return "", errors.New("it can't be sent in a header: it has control characters, or blanks around it")
	}
	return token, nil
}
