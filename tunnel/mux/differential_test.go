package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds a script and each wait in it.
const patience = 30 * time.Second

// The scripts that FuzzDifferential runs without -fuzz. (With -fuzz, a script may
// take only ten seconds, and there is no stack dump if it hangs.) For a long run:
//
//	go test -race -run Differential -scripts 50000 -seed 1000 -timeout 0 ./tunnel/mux
var (
	scripts   = flag.Uint64("scripts", 60, "the number of scripts of FuzzDifferential")
	firstSeed = flag.Uint64("seed", 0, "the seed of the first script")
)

// FuzzDifferential runs a random script between a session of this package and
// one of hashicorp/yamux, in either role: opens, writes, half-closes, early
// closes, resets, Pings, GoAway and disconnects, over a connection whose Read
// returns random numbers of bytes. Every byte that is read must be the one that was
// written, a stream must end as its writer ended it, and a session must stay up
// unless the script ends it. (Either end closes the session if its peer exceeds a
// window.)
//
// The seed determines the script. The peer is the hashicorp/yamux of go.mod; to run
// with another version:
//
//	cp go.mod /tmp/other.mod && cp go.sum /tmp/other.sum
//	go mod edit -require github.com/hashicorp/yamux@v0.1.1 /tmp/other.mod
//	go test -modfile /tmp/other.mod -mod mod -run Differential ./tunnel/mux
func FuzzDifferential(f *testing.F) {
	for i := range *scripts {
		f.Add(*firstSeed + i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { newScript(t, seed).run() })
}

// script is one run.
type script struct {
	t     *testing.T
	seed  uint64
	ours  *Session
	ends  [2]endpoint // the first is ours
	conns [2]net.Conn
	plans [2][]*plan // of the streams that each end opens

	ops          atomic.Int64 // operations so far
	interruptAt  int64        // call interrupt after so many operations
	interrupt    func()       // closes an end or a connection, or sends GoAway; may be nil
	sendsGoAway  bool         // interrupt sends GoAway
	disconnected atomic.Bool  // an end or a connection was closed: all operations may fail
	refusing     atomic.Bool  // GoAway was sent: streams may be refused
	anyReset     atomic.Bool  // a stream was closed early or reset
}

func newScript(t *testing.T, seed uint64) *script {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &script{t: t, seed: seed}
	a, b := tcpPair(t)
	s.conns = [2]net.Conn{a, b}
	if rng.IntN(2) == 0 {
		a = &choppedConn{Conn: a, rng: rand.New(rand.NewPCG(seed, 2))}
	}
	role, window := Role(rng.IntN(2)), uint32(0)
	if rng.IntN(2) == 0 {
		window = initialWindow << rng.IntN(3)
	}
	roundTrip := time.Duration(rng.Int64N(200_000_000))
	s.ours = startOurs(t, a, role, &Options{Window: window, RoundTrip: func() time.Duration { return roundTrip }})
	s.ends[0] = ourSession{s.ours}
	if rng.IntN(6) == 0 {
		s.ends[1] = ourSession{startOurs(t, b, 1-role, nil)}
	} else {
		s.ends[1] = hashicorpSession{startHashicorp(t, b, 1-role, initialWindow<<rng.IntN(4))}
	}
	for range 1 + rng.IntN(40) {
		opener := rng.IntN(2)
		s.plans[opener] = append(s.plans[opener], newPlan(rng))
	}
	s.interruptAt = int64(rng.IntN(300))
	switch rng.IntN(5) {
	case 0:
		closers := []func(){s.ends[0].close, s.ends[1].close, func() { _ = s.conns[0].Close() }, func() { _ = s.conns[1].Close() }}
		closer := closers[rng.IntN(len(closers))]
		s.interrupt = func() {
			s.disconnected.Store(true)
			closer()
		}
	case 1:
		s.sendsGoAway = true
		end := s.ends[rng.IntN(2)]
		s.interrupt = func() {
			s.refusing.Store(true)
			end.goAway()
		}
	}
	return s
}

// op counts an operation, and starts the interrupt when it is due.
func (s *script) op() {
	if s.ops.Add(1) == s.interruptAt && s.interrupt != nil {
		go s.interrupt()
	}
}

func (s *script) run() {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var accepting sync.WaitGroup
	streams := newTasks()
	for i, end := range s.ends {
		accepting.Go(func() { s.acceptAll(end, s.plans[1-i], streams) })
		for n, p := range s.plans[i] {
			streams.start(func() { s.open(ctx, end, n, p) })
		}
		streams.start(func() {
			for range 3 {
				if err := end.ping(ctx); err != nil && !s.disconnected.Load() {
					s.t.Errorf("Ping: %v", err)
				}
				s.op()
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		streams.wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(patience + time.Second):
		stacks := make([]byte, 1<<20)
		s.t.Fatalf("the script of seed %d hangs with %d and %d streams\n%s", s.seed, s.ends[0].streams(), s.ends[1].streams(), stacks[:runtime.Stack(stacks, true)])
	}
	s.check()
	s.disconnected.Store(true)
	s.ends[0].close()
	s.ends[1].close()
	accepting.Wait()
}

func (s *script) acceptAll(end endpoint, plans []*plan, streams *tasks) {
	for {
		st, err := end.accept()
		if err != nil {
			return
		}
		streams.start(func() {
			_ = st.SetDeadline(time.Now().Add(patience))
			var number [4]byte // the index of the stream's plan
			if _, err := io.ReadFull(st, number[:]); err != nil {
				if !s.disconnected.Load() && !s.refusing.Load() && !s.anyReset.Load() {
					s.t.Errorf("read the number of a stream: %v", err)
				}
				_ = st.Close()
				return
			}
			p := plans[binary.BigEndian.Uint32(number[:])]
			s.follow(st, p, 1)
		})
	}
}

func (s *script) open(ctx context.Context, end endpoint, n int, p *plan) {
	for range p.delay {
		runtime.Gosched()
	}
	s.op()
	st, err := end.open(ctx)
	if err != nil {
		if !s.disconnected.Load() && !s.refusing.Load() {
			s.t.Errorf("open: %v", err)
		}
		return
	}
	_ = st.SetDeadline(time.Now().Add(patience))
	if _, err := st.Write(binary.BigEndian.AppendUint32(nil, uint32(n))); err != nil {
		if !s.disconnected.Load() && !s.refusing.Load() {
			s.t.Errorf("write the number of a stream: %v", err)
		}
		_ = st.Close()
		return
	}
	s.follow(st, p, 0)
}

// follow executes a plan at one end.
func (s *script) follow(st testStream, p *plan, end int) {
	var writing sync.WaitGroup
	writing.Go(func() { s.write(st, p, &p.directions[end]) })
	s.read(st, p, &p.directions[1-end], end)
	writing.Wait()
	_ = st.Close()
	p.ended.Add(1)
}

func (s *script) write(st testStream, p *plan, d *direction) {
	for _, size := range d.sizes {
		data := make([]byte, size)
		fill(data, d.seed, d.written)
		n, err := st.Write(data)
		d.written += n
		s.op()
		if err != nil {
			if !p.aborted() {
				d.failure = fmt.Errorf("write: %w", err)
			}
			return
		}
	}
	_ = st.CloseWrite()
}

func (s *script) read(st testStream, p *plan, d *direction, end int) {
	got := make([]byte, 1+len(d.sizes)*7000)
	want := make([]byte, len(got))
	for {
		if at := p.abortAt[end]; at >= 0 && d.read >= at {
			s.anyReset.Store(true)
			if !p.resets[end] || !st.reset() {
				_ = st.Close()
			}
			return
		}
		n, err := st.Read(got)
		fill(want[:n], d.seed, d.read)
		if !bytes.Equal(got[:n], want[:n]) {
			d.failure = fmt.Errorf("wrong bytes after %d", d.read)
			_ = st.Close()
			return
		}
		d.read += n
		s.op()
		if err != nil {
			d.readErr = err
			if p.aborted() {
				_ = st.Close() // a Write may be waiting for a peer that no longer reads
			}
			return
		}
	}
}

// check compares the results with the plans.
func (s *script) check() {
	if s.disconnected.Load() {
		for i, end := range s.ends {
			select {
			case <-end.done():
			case <-time.After(2 * time.Second):
				s.t.Errorf("the session at end %d is still up two seconds after the disconnect", i)
			}
		}
		return
	}
	for i, end := range s.ends {
		select {
		case <-end.done():
			s.t.Errorf("the session has ended at end %d: %v", i, s.ours.Err())
		default:
		}
	}
	for opener, plans := range s.plans {
		for i, p := range plans {
			switch {
			case p.ended.Load() == 2:
				s.checkStream(fmt.Sprintf("stream %d of end %d", i, opener), p, opener)
			case !s.sendsGoAway && !p.aborted():
				s.t.Errorf("stream %d of end %d has finished at %d ends, want 2", i, opener, p.ended.Load())
			}
		}
	}
	if s.sendsGoAway {
		return // streams refused after GoAway may linger at hashicorp's end
	}
	eventually(s.t, "both ends to remove all streams", func() bool { return s.ends[0].streams()+s.ends[1].streams() == 0 })
	eventually(s.t, "the return of all tokens of Session.opening", func() bool { return len(s.ours.opening) == 0 })
	eventually(s.t, "the release of the unread bytes' memory", func() bool { return s.ours.unread.Load() == 0 && len(s.ours.unclosed) == 0 })
	eventually(s.t, "the release of window growth", func() bool { return s.ours.budget.growth.Load() == 0 })
}

func (s *script) checkStream(name string, p *plan, opener int) {
	for from := range p.directions {
		d, to := &p.directions[from], 1-from
		_, hashicorps := s.ends[opener^from].(hashicorpSession) // its Close may overtake a Write
		switch {
		case d.failure != nil:
			s.t.Errorf("%s: %v (%d written, %d read)", name, d.failure, d.written, d.read)
		case !p.aborted():
			if !errors.Is(d.readErr, io.EOF) || d.read != d.written {
				s.t.Errorf("%s: %d of %d bytes read, and then %v, want io.EOF", name, d.read, d.written, d.readErr)
			}
		case p.abortAt[from] >= 0 && p.abortAt[to] < 0 && errors.Is(d.readErr, io.EOF) && d.read > d.written:
			s.t.Errorf("%s: %d bytes read of %d written", name, d.read, d.written)
		case p.abortAt[from] >= 0 && !p.resets[from] && p.abortAt[to] < 0 && !hashicorps && errors.Is(d.readErr, io.EOF) && d.read < d.written:
			s.t.Errorf("%s: io.EOF after %d of the %d bytes written before Close", name, d.read, d.written)
		case errors.Is(d.readErr, context.DeadlineExceeded):
			s.t.Errorf("%s: %v", name, d.readErr)
		}
	}
}
