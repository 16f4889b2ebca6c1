package inspect

import (
	"slices"
	"sync"
	"time"

	"github.com/wstun/wstun/commands/monitor"
)

// sampleInterval is the time between the samples of Session.Rates.
const sampleInterval = 500 * time.Millisecond

// maxSamples is how many samples of a session are kept.
const maxSamples = 60

// Sampler measures the rates of sessions. Use NewSampler.
type Sampler struct {
	ask  func() []monitor.Session
	stop chan struct{}
	done chan struct{}

	mu       sync.Mutex
	sessions []Session
	samples  map[uint64]*samples // by session
}

// samples are those of a session.
type samples struct {
	bytes Bytes // so far
	rate  Bytes // in the last second
	last  Bytes // the rate in the interval before, for rate
	rates []int64
}

// NewSampler returns a Sampler that asks for the sessions each half second, until Close.
func NewSampler(ask func() []monitor.Session) *Sampler {
	s := &Sampler{ask: ask, stop: make(chan struct{}), done: make(chan struct{}), samples: map[uint64]*samples{}}
	s.sample()
	go s.run()
	return s
}

// Close ends the Sampler.
func (s *Sampler) Close() {
	close(s.stop)
	<-s.done
}

// Sessions returns the sessions with their rates. It is for Options.Sessions.
func (s *Sampler) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

func (s *Sampler) run() {
	defer close(s.done)
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.sample()
		case <-s.stop:
			return
		}
	}
}

func (s *Sampler) sample() {
	list := s.ask()
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[uint64]*samples{}
	s.sessions = make([]Session, len(list))
	for i := range list {
		m := &list[i]
		k := s.samples[m.ID]
		if k == nil {
			k = &samples{bytes: Bytes(m.Bytes)}
		} else {
			k.add(Bytes(m.Bytes))
		}
		known[m.ID] = k
		s.sessions[i] = toSession(m, k)
	}
	s.samples = known
}

// add adds a sample of the bytes so far.
func (k *samples) add(now Bytes) {
	in := Bytes{In: now.In - k.bytes.In, Out: now.Out - k.bytes.Out}
	k.rate, k.last, k.bytes = Bytes{In: in.In + k.last.In, Out: in.Out + k.last.Out}, in, now
	if len(k.rates) == maxSamples {
		k.rates = k.rates[1:]
	}
	k.rates = append(slices.Clip(k.rates), in.In+in.Out) // readers have the old one
}

func toSession(m *monitor.Session, k *samples) Session {
	s := Session{
		ID: m.ID, Remote: m.Remote, State: m.State, Since: m.Since.UnixMilli(), Reason: m.Reason, RTT: m.RoundTrip, LeastRTT: m.LeastRoundTrip,
		Streams: m.Streams, Open: m.Open, Bytes: Bytes(m.Bytes), Rate: k.rate, Rates: k.rates, CloseCode: m.CloseCode,
	}
	if m.Ended != nil {
		s.Ended = m.Ended.UnixMilli()
	}
	if m.CertificateExpires != nil {
		s.CertificateExpires = m.CertificateExpires.UnixMilli()
	}
	return s
}
