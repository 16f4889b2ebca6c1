package outbound

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestSkipInterim(t *testing.T) {
	t.Parallel()
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
	for in, want := range map[string]string{
		hints + "HTTP/1.1 101 Switching":                      "HTTP/1.1 101 Switching",
		"HTTP/1.0 100\n\n" + hints + "HTTP/1.1 200 OK":        "HTTP/1.1 200 OK",
		strings.Repeat(hints, maxInterim) + "HTTP/1.1 403 No": "HTTP/1.1 403 No",
		"\x15\x03\x01\x00\x02\x02\x46":                        "\x15\x03\x01\x00\x02\x02\x46",
		"HTTP/2 103\r\n\r\n":                                  "HTTP/2 103\r\n\r\n",
	} {
		r := bufio.NewReader(strings.NewReader(in))
		err := SkipInterim(r)
		if got, _ := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("after SkipInterim of %q: %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                                   "EOF",
		hints:                                "EOF",
		"HTTP/1.1 103 Early Hints\r\nLink: ": "EOF",
		strings.Repeat(hints, maxInterim+1):  "more than 32 interim answers",
	} {
		if err := SkipInterim(bufio.NewReader(strings.NewReader(in))); err == nil || err.Error() != want {
			t.Errorf("SkipInterim of %.40q = %v, want %s", in, err, want)
		}
	}
}

func FuzzSkipInterim(f *testing.F) {
	f.Add([]byte("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n\x82\x00"))
	f.Add([]byte("HTTP/1.1 100\n\nHTTP/1.1 1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		if SkipInterim(r) != nil {
			return
		}
		rest, err := io.ReadAll(r)
		skipped, ok := bytes.CutSuffix(in, rest)
		if err != nil || !ok || isInterim(rest[:min(len(rest), 12)]) || len(skipped) > 0 && !bytes.HasSuffix(skipped, []byte("\n")) {
			t.Errorf("after SkipInterim of %q: %q, %v", in, rest, err)
		}
	})
}
