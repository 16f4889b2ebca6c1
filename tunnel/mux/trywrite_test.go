package mux

import (
	"strings"
	"testing"
)

// tryTransport is a transport whose TryWriteFrame succeeds.
type tryTransport struct{ Transport }

func (t tryTransport) TryWriteFrame(header, body []byte) bool {
	return t.WriteFrame(header, body) == nil
}

// TryWrite writes all or nothing: short writes that fit the window.
func TestTryWrite(t *testing.T) {
	t.Parallel()
	a, b := tcpPair(t)
	client, err := New(tryTransport{newTransport(a)}, Client, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := startOurs(t, b, Server, nil)
	t.Cleanup(func() { _ = client.Close() })
	st, err := client.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, size, want int) {
		t.Helper()
		if n, err := st.TryWrite(make([]byte, size)); n != want || err != nil {
			t.Errorf("%s: TryWrite = %d, %v, want %d", name, n, err, want)
		}
	}
	try("a long write", maxTryWrite+1, 0)
	for range initialWindow / maxTryWrite {
		try("within the window", maxTryWrite, maxTryWrite)
	}
	try("beyond the window", 1, 0)
	if sent := st.Stats().BytesSent; sent != initialWindow {
		t.Errorf("BytesSent = %d, want %d", sent, initialWindow)
	}
	mustRead(t, peer, strings.Repeat("\x00", initialWindow))
	if _, err := st.Write([]byte("x")); err != nil { // waits for the window update
		t.Fatal(err)
	}
	mustRead(t, peer, "x")
	_ = st.CloseWrite()
	try("after CloseWrite", 1, 0)
}
