package tunnel

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// interim sends a number of interim responses before the response of final.
func interim(code, number int, final http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range number {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(code)
		}
		final.ServeHTTP(w, r)
	})
}

func TestDialSkipsInterimResponses(t *testing.T) {
	t.Parallel()
	accept := NewAcceptor(newSessions(t), AcceptOptions{Session: SessionOptions{Role: wsmux.Server}})
	for _, test := range []struct {
		name    string
		handler http.Handler
		want    string // the error; empty: a session
	}{
		{"Early Hints", interim(http.StatusEarlyHints, 1, accept), ""},
		{"Continue", interim(http.StatusContinue, 2, accept), ""},
		{"Processing", interim(http.StatusProcessing, 32, accept), ""},
		{"too many", interim(http.StatusProcessing, 33, accept), "more than 32 interim answers"},
		{"a refusal", interim(http.StatusEarlyHints, 2, handler(403, nil, "no")), "handshake: 403 Forbidden: no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			plain, secure := httptest.NewServer(test.handler), httptest.NewTLSServer(test.handler)
			defer plain.Close()
			defer secure.Close()
			config := &tls.Config{RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
			for _, url := range []string{plain.URL, secure.URL} {
				session, err := Dial(tunneltest.Soon(t), url, &DialOptions{TLS: config})
				switch {
				case test.want != "":
					if err == nil || err.Error() != "dial "+url+": "+test.want {
						t.Errorf("Dial = %v, want %s", err, test.want)
					}
				case err != nil:
					t.Errorf("Dial = %v", err)
				default:
					if _, err := session.PingYamux(tunneltest.Soon(t)); err != nil {
						t.Errorf("PingYamux = %v", err)
					}
					_ = session.Close()
				}
			}
		})
	}
}

func TestDialBoundsInterimResponses(t *testing.T) {
	t.Parallel()
	addr := serveTCP(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n")
		for err := error(nil); err == nil; {
			_, err = io.WriteString(conn, strings.Repeat("Link: </x>\r\n", 1000))
		}
	})
	_, err := Dial(tunneltest.Soon(t), "ws://"+addr, nil)
	if want := "dial ws://" + addr + ": handshake: the answer is too long"; err == nil || err.Error() != want {
		t.Errorf("Dial = %v, want %s", err, want)
	}
}

func TestDialWantsTLS(t *testing.T) {
	t.Parallel()
	const (
		nginx  = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n"
		apache = "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>400 Bad Request</title>\n</head><body>\n<h1>Bad Request</h1>\n" +
			"<p>Your browser sent a request that this server could not understand.<br />\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n"
	)
	for _, test := range []struct {
		name, body string
		code       int
		secure     bool
		want       bool
	}{
		{"nginx", nginx, 400, false, true},
		{"Apache", apache, 400, false, true},
		{"Tomcat", "Bad Request\r\nThis combination of host and port requires TLS.\r\n", 400, false, true},
		{"IIS", "<title>403.4 - Forbidden: SSL is required to view this resource.</title>", 403, false, true},
		{"nginx after TLS", nginx, 400, true, false},
		{"a link", "see https://host.test/", 400, false, false},
		{"another reason", "<title>Bad header</title>", 400, false, false},
		{"a server's fault", "no TLS certificate", 500, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			start := httptest.NewServer
			if test.secure {
				start = httptest.NewTLSServer
			}
			srv := start(handler(test.code, nil, test.body))
			defer srv.Close()
			_, err := Dial(tunneltest.Soon(t), srv.URL, &DialOptions{TLS: &tls.Config{InsecureSkipVerify: true}})
			if he, ok := errors.AsType[*HandshakeError](err); !ok || he.WantsTLS != test.want {
				t.Errorf("Dial = %#v, want WantsTLS %t", err, test.want)
			}
		})
	}
}

func FuzzPageText(f *testing.F) {
	f.Add([]byte("<title>a &amp; b</title><script>x</script><p>503 Service Unavailable<p>\x1b[1m"))
	f.Add([]byte("<style><title>"))
	f.Add([]byte("<title>&notin;&#x202e;<!-- x --></title><![CDATA[x]]>"))
	f.Fuzz(func(t *testing.T, page []byte) {
		title, text := pageText(page, "503 Service Unavailable")
		if strings.ContainsAny(title+text, "\r\n\t") {
			t.Errorf("pageText = %q, %q: more than one line", title, text)
		}
		if n := len(title) + len(text); n > 3*len(page) { // an invalid byte becomes three
			t.Errorf("pageText of %d bytes has %d", len(page), n)
		}
	})
}
