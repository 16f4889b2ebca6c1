package tunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Whatever the pattern of outages is, the call of a waiting client succeeds soon after the
// peer listens again, and a peer that asks for patience isn't dialed early.
func TestReconnectPatterns(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { reconnectPattern(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func reconnectPattern(t *testing.T, random *rand.Rand) {
	t.Helper()
	p := newScriptedPeer(t, &Connector{MaxRetries: -1})
	p.listen(nil)
	p.run()
	defer p.stop()
	if err := p.call(0); err != nil {
		t.Fatal(err)
	}
	var times []time.Duration
	for range 4 + random.IntN(5) {
		<-time.After(time.Duration(random.ExpFloat64() * float64(time.Second))) // up
		code, answer := outage(random)
		down := time.Duration(random.ExpFloat64() * float64(3*time.Second))
		p.listen(answer)
		p.close(code)
		synctest.Wait()               // until the Connector knows
		could := time.Now().Add(down) // when a call could succeed
		calling := time.Duration(random.Float64() * 1.2 * float64(down))
		done := make(chan time.Time, 1)
		go func() {
			<-time.After(calling)
			if err := p.call(time.Hour); err != nil {
				t.Error(err)
			}
			done <- time.Now()
		}()
		could = later(could, time.Now().Add(calling))
		<-time.After(down)
		p.listen(nil)
		good := tunneltest.Await(t, "the call", done)
		late := max(good.Sub(later(could, p.patience)), 0)
		if late > 300*time.Millisecond {
			t.Errorf("a call succeeded %v after it could; close code %d, then %v for %v", late, code, answer, down)
		}
		times = append(times, late.Round(time.Millisecond))
	}
	t.Logf("from listening to a good call: %v", times)
}

// outage returns how a session ends, and how the peer then answers.
func outage(random *rand.Rand) (code int, answer error) {
	code = []int{0, 0, websocket.CloseGoingAway, websocket.CloseInternalServerErr, websocket.CloseServiceRestart, websocket.CloseTryAgainLater}[random.IntN(6)]
	after := time.Duration(1+random.IntN(10)) * time.Second
	answer = []error{
		errRefused,
		&HandshakeError{StatusCode: http.StatusBadGateway},
		&HandshakeError{StatusCode: http.StatusTooManyRequests, RetryAfter: after},
		&HandshakeError{StatusCode: http.StatusServiceUnavailable, RetryAfter: after},
		&outbound.ProxyError{StatusCode: http.StatusServiceUnavailable, RetryAfter: after},
	}[max(random.IntN(8)-3, 0)]
	return code, answer
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// While a client waits, the peer is dialed every 250 ms. That neither counts as retries nor
// makes later delays longer.
func TestConnectorDialsForWaitingClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScriptedPeer(t, &Connector{MaxRetries: 6})
		result := p.run()
		defer p.stop()
		<-time.After(300 * time.Millisecond) // two dials
		since := time.Now()
		if err := p.call(2 * time.Second); !errors.Is(err, errRefused) || !errors.Is(err, ErrNoSession) {
			t.Errorf("Open = %v, want %v", err, errRefused)
		}
		dials := p.dialTimes(since)
		if len(dials) < 8 || len(dials) > 10 {
			t.Errorf("%d dials in 2 s while a client waits, want 8 to 10: %v", len(dials), dials)
		}
		ge, ok := errors.AsType[*GaveUpError](tunneltest.Await(t, "Run", result))
		if !ok || ge.Attempts != 7 {
			t.Errorf("Run = %v, want it to give up after 7 attempts", ge)
		}
		if took := time.Since(since); took < 9*time.Second || took > 15*time.Second { // about 200 ms × 63
			t.Errorf("Run gave up after %v, want about 12 s", took)
		}
	})
}

// A client that begins to wait long after the last dial makes Run dial at once.
func TestConnectorDialsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScriptedPeer(t, &Connector{MaxRetries: -1})
		p.run()
		defer p.stop()
		<-time.After(time.Hour)
		for n := len(p.dialTimes(time.Time{})); len(p.dialTimes(time.Time{})) == n; {
			<-time.After(10 * time.Millisecond)
		}
		p.listen(nil)
		<-time.After(time.Second)
		since := time.Now()
		if err := p.call(0); err != nil || time.Since(since) > 0 {
			t.Errorf("call = %v after %v, want success at once", err, time.Since(since))
		}
	})
}

// A waiting client doesn't cut short a delay for which the peer or a proxy has asked.
func TestConnectorPatience(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, test := range []struct {
		name        string
		code        int // that ends a session
		answer      error
		least, most time.Duration
	}{
		{"Retry-After", 0, &HandshakeError{StatusCode: 429, RetryAfter: 4 * time.Second}, 4 * time.Second, 5 * time.Second},
		{"503 and Retry-After", 0, &HandshakeError{StatusCode: 503, RetryAfter: 4 * time.Second}, 4 * time.Second, 5 * time.Second},
		{"a proxy's Retry-After", 0, &outbound.ProxyError{StatusCode: 503, RetryAfter: 4 * time.Second}, 4 * time.Second, 5 * time.Second},
		{"429 alone", 0, &HandshakeError{StatusCode: 429}, 320 * ms, 480 * ms},
		{"1012", websocket.CloseServiceRestart, nil, 0, 5 * time.Second},
		{"1013", websocket.CloseTryAgainLater, nil, 5 * time.Second, 30 * time.Second},
		{"503 alone", 0, &HandshakeError{StatusCode: 503}, 250 * ms, 250 * ms},
		{"4409", CloseReplaced, nil, time.Minute, 72 * time.Second},
		{"1011", websocket.CloseInternalServerErr, nil, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newScriptedPeer(t, &Connector{MaxRetries: -1})
				now := make(chan struct{})
				p.connector.RetryNow = now
				p.listen(nil)
				p.run()
				defer p.stop()
				<-time.After(time.Second)
				p.listen(test.answer)
				p.close(test.code)
				synctest.Wait() // until the Connector knows
				if test.answer != nil {
					<-time.After(250 * ms) // the first delay, after which the peer answers
				}
				dials := p.dialTimes(time.Time{})
				last := p.dials[len(dials)-1]
				if test.answer == nil {
					last = time.Now()
				}
				p.listen(nil)
				if err := p.call(time.Hour); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(last); took < test.least || took > test.most {
					t.Errorf("dialed after %v, want %v to %v", took, test.least, test.most)
				}
			})
		})
	}
}

// RetryNow, which a user causes, ends every delay.
func TestConnectorRetryNowEndsPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newScriptedPeer(t, &Connector{MaxRetries: -1})
		now := make(chan struct{})
		p.connector.RetryNow = now
		p.listen(&HandshakeError{StatusCode: 429, RetryAfter: time.Minute})
		p.run()
		defer p.stop()
		synctest.Wait()
		p.listen(nil)
		p.notBefore = time.Time{}
		now <- struct{}{}
		since := time.Now()
		if err := p.call(0); err != nil || time.Since(since) > 0 {
			t.Errorf("call = %v after %v, want success at once", err, time.Since(since))
		}
	})
}

// A session in which the peer has sent bytes on a stream resets the delay, however short it
// is. One that the peer only accepts doesn't.
func TestConnectorResetsDelay(t *testing.T) {
	t.Parallel()
	for _, used := range []bool{true, false} {
		t.Run(fmt.Sprintf("used %v", used), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				retries := make(chan time.Duration, 1)
				p := newScriptedPeer(t, &Connector{MaxRetries: -1, OnRetry: func(in time.Duration, _ error) { retries <- in }})
				p.listen(nil)
				p.run()
				defer p.stop()
				var longest time.Duration
				for range 8 {
					if used {
						if err := p.call(time.Hour); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait() // the session is up, and a Ping is answered
					p.close(0)
					in := tunneltest.Await(t, "a retry", retries)
					longest = max(longest, in)
					<-time.After(in)
				}
				if used && longest > 240*time.Millisecond || !used && longest < 20*time.Second {
					t.Errorf("the longest delay was %v", longest)
				}
			})
		})
	}
}
