package monitor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func link(id uint64, st *Stats) *Link {
	return &Link{ID: id, Remote: fmt.Sprintf("192.0.2.%d", id), Since: time.Now(), Stats: func() Stats { return *st }}
}

func checkState(t *testing.T, m *Monitor, want string) {
	t.Helper()
	if state, ready := m.State(); state != want || ready != (want == "ready") {
		t.Errorf("state %s, ready %v, want %s", state, ready, want)
	}
}

func TestDialingState(t *testing.T) {
	t.Parallel()
	m := New(Info{Command: "dial"})
	checkState(t, m, "waiting")
	m.Retrying(time.Second, Name, "no such host")
	if st := m.Status(); st.Unready() != "no session: no such host" || st.Retry.Cause != "name" {
		t.Errorf("%q, %+v", st.Unready(), st.Retry)
	}
	st := &Stats{Bytes: Bytes{In: 3, Out: 4}, Opened: 2, RoundTrip: time.Millisecond}
	m.Up(link(1, st))
	checkState(t, m, "waiting") // for the ready file
	m.SetUsable("ws://hub.example/")
	checkState(t, m, "ready")
	if m.Status().Retry != nil {
		t.Error("a retry is still announced")
	}
	st.Draining = true
	checkState(t, m, "waiting")
	st.Draining = false
	m.Down(1, CloseCode, "close 1013: full", 1013)
	checkState(t, m, "waiting")
	m.Up(link(2, st))
	m.SetDraining()
	checkState(t, m, "draining")

	status := m.Status()
	if len(status.Ended) != 1 || status.Ended[0].CloseCode != 1013 || status.Ended[0].Cause != "close_code" || status.Ended[0].Ended == nil {
		t.Errorf("ended: %+v", status.Ended)
	}
	totals := m.Totals()
	if totals.Bytes != (Bytes{In: 6, Out: 8}) || totals.Opened != 4 || totals.AllSessions != 2 || totals.Sessions != 1 ||
		totals.Ends[CloseCode] != 1 || totals.Retries[Name] != 1 || totals.LastClose != 1013 || totals.MostRoundTrip != time.Millisecond {
		t.Errorf("%+v", totals)
	}
}

// A process that accepts is ready before its first session: a load balancer sends it
// sessions only when it is.
func TestAcceptingState(t *testing.T) {
	t.Parallel()
	m := New(Info{Command: "serve"})
	m.Accepting = true
	checkState(t, m, "waiting")
	m.SetBound()
	checkState(t, m, "ready")
	m.SetDraining()
	checkState(t, m, "draining")
}

func TestChanged(t *testing.T) {
	t.Parallel()
	m := New(Info{})
	changed := m.Changed()
	select {
	case <-changed:
		t.Fatal("changed at the beginning")
	default:
	}
	m.Up(link(1, &Stats{}))
	<-changed
	if changed == m.Changed() {
		t.Error("the same channel again")
	}
}

func TestEndedSessionsAreBounded(t *testing.T) {
	t.Parallel()
	m := New(Info{})
	for id := range uint64(1000) {
		m.Up(link(id, &Stats{}))
		m.Down(id, Network, "reset", 0)
	}
	st := m.Status()
	if len(st.Ended) != keptEnded || st.Ended[keptEnded-1].ID != 999 || len(st.Sessions) != 0 {
		t.Errorf("%d sessions have ended, the last one is %d; %d are up", len(st.Ended), st.Ended[keptEnded-1].ID, len(st.Sessions))
	}
	if n := m.Totals().AllSessions; n != 1000 {
		t.Errorf("%d sessions, want 1000", n)
	}
}

func TestStatusCalls(t *testing.T) {
	t.Parallel()
	m := New(Info{})
	now := time.Now()
	m.Calls = func() []rpc.Call {
		calls := make([]rpc.Call, MaxCalls+5)
		for i := range calls {
			calls[i] = rpc.Call{Method: "/a.B/C", Session: 1, Begun: now.Add(-time.Duration(i)), Sent: 1}
		}
		return calls
	}
	m.Ended = &rpc.Counts{}
	for _, code := range []codes.Code{codes.OK, codes.OK, codes.Unavailable, rpc.NoStatus, 99} {
		m.Ended.Add(code)
	}
	m.Up(link(1, &Stats{}))
	st := m.Status()
	if len(st.Calls) != MaxCalls || st.Open != MaxCalls+5 || st.Sessions[0].Open != MaxCalls+5 {
		t.Errorf("%d calls of %d, %d in the session", len(st.Calls), st.Open, st.Sessions[0].Open)
	}
	if first, last := st.Calls[0].Begun, st.Calls[MaxCalls-1].Begun; !first.Before(last) {
		t.Error("the oldest call isn't the first")
	}
	if got := strings.Join(st.Codes(), " "); got != "OK NO_STATUS OTHER UNAVAILABLE" {
		t.Errorf("statuses %s", got)
	}
}

// Lists are never null, so that clients needn't distinguish it.
func TestStatusJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(New(Info{Command: "dial", Version: "1.2.3"}).Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"sessions":[]`, `"ended":[]`, `"calls":[]`, `"rpcs":{}`, `"addresses":[]`, `"upstreams":[]`, `"command":"dial"`, `"version":"1.2.3"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestReasonOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want Reason
		code int
	}{
		{&websocket.CloseError{Code: 1000}, Closed, 1000},
		{fmt.Errorf("session ended: %w", &websocket.CloseError{Code: 1001}), Closed, 1001},
		{&websocket.CloseError{Code: 1013}, CloseCode, 1013},
		{&websocket.CloseError{Code: 1006}, Network, 0},
		{&websocket.CloseError{Code: 1005}, Network, 0},
		{&tunnel.HandshakeError{StatusCode: http.StatusForbidden}, Refused, 0},
		{&tunnel.HandshakeError{StatusCode: http.StatusBadGateway}, Handshake, 0},
		{tunnel.ErrReconnect, Replaced, 0},
		{mux.ErrRemoteGoAway, GoAway, 0},
		{&wsmux.SilenceError{Timeout: time.Second}, Silence, 0},
		{&mux.ProtocolError{Text: "bad frame"}, Protocol, 0},
		{net.ErrClosed, Local, 0},
		{&tunnel.DialError{Err: &net.DNSError{Err: "no such host"}}, Name, 0},
		{x509.UnknownAuthorityError{}, TLS, 0},
		{os.ErrDeadlineExceeded, Timeout, 0},
		{context.DeadlineExceeded, Timeout, 0},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, Network, 0},
		{io.ErrUnexpectedEOF, Network, 0},
		{errors.New("anything else"), Network, 0},
	} {
		if got, code := ReasonOf(test.err); got != test.want || code != test.code {
			t.Errorf("%v: %v, %d, want %v, %d", test.err, got, code, test.want, test.code)
		}
	}
}
