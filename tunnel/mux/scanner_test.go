package mux

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// scan returns the calls of a Scanner for all, in pieces whose length cut returns.
func scan(all []byte, cut func() int) string {
	var got, data bytes.Buffer
	var current uint32
	flush := func() {
		if data.Len() > 0 {
			fmt.Fprintf(&got, "%d %q\n", current, data.String())
		}
		data.Reset()
	}
	s := &Scanner{
		Open: func(stream uint32) {
			flush()
			fmt.Fprintf(&got, "%d opened\n", stream)
		},
		Data: func(stream uint32, p []byte) {
			if stream != current {
				flush()
			}
			current = stream
			data.Write(p)
		},
		Close: func(stream uint32, reset bool) {
			flush()
			fmt.Fprintf(&got, "%d closed, reset %v\n", stream, reset)
		},
	}
	for len(all) > 0 {
		n := min(cut(), len(all))
		s.Scan(all[:n])
		all = all[n:]
	}
	flush()
	return fmt.Sprint(got.String(), s.Err())
}

func frame(kind byte, flags uint16, stream uint32, body string) string {
	h := newHeader(kind, flags, stream, uint32(len(body)))
	return string(h[:]) + body
}

func window(flags uint16, stream uint32) string {
	h := newHeader(typeWindowUpdate, flags, stream, 1000)
	return string(h[:])
}

func ping() string {
	h := newHeader(typePing, flagSYN, 0, 7)
	return string(h[:])
}

func TestScanner(t *testing.T) {
	t.Parallel()
	all := window(flagSYN, 1) + frame(typeData, 0, 1, "hello") + ping() + frame(typeData, flagSYN, 3, "x") +
		frame(typeData, flagFIN, 1, "bye") + window(flagRST, 3) + frame(typeData, 0, 5, "") + window(flagACK|flagFIN, 7)
	const want = "1 opened\n1 \"hello\"\n3 opened\n3 \"x\"\n1 \"bye\"\n1 closed, reset false\n3 closed, reset true\n7 closed, reset false\n<nil>"
	rnd := rand.New(rand.NewPCG(1, 1))
	for name, cut := range map[string]func() int{"whole": func() int { return len(all) }, "pieces": func() int { return 1 + rnd.IntN(7) }} {
		if got := scan([]byte(all), cut); got != want {
			t.Errorf("%s: got\n%s, want\n%s", name, got, want)
		}
	}
	for _, other := range []string{"GET / HTTP/1.1\r\n", "\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if got := scan([]byte(other), func() int { return 3 }); got != "not yamux" {
			t.Errorf("%q: %s, want not yamux", other, got)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(window(flagSYN, 1)+frame(typeData, 0, 1, "hello")+ping()), uint8(3))
	f.Fuzz(func(t *testing.T, all []byte, step uint8) {
		whole, pieces := scan(all, func() int { return len(all) }), scan(all, func() int { return int(step) + 1 })
		if whole != pieces {
			t.Errorf("in pieces: %s, whole: %s", pieces, whole)
		}
	})
}
