//go:build unix

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	dialTimeout   = 10 * time.Second
	settleTime    = 800 * time.Millisecond // until load balancers use a relay that has returned
	settleTimeout = 90 * time.Second
)

// fleetReport is the answer of fleetload to a line of its stdin.
type fleetReport struct {
	Dials, Failed int
	Slowest       time.Duration  // of the dials that succeeded
	FewestUp      int            // Workers with a session at one moment
	Back          time.Duration  // until all Workers had a session again, from the line "begin"; 0: they always had
	LastFailed    time.Duration  // when the last dial failed
	Errors        map[string]int // of dials
	Ends          map[string]int // of the sessions of Workers
	Retries       map[string]int // dials of Workers that failed, by reason
	Lost          int            // Workers that can't be reached at last
}

func (r fleetReport) String() string {
	text := fmt.Sprintf("%d dials, %d failed, slowest %.1fs; at least %d workers up",
		r.Dials, r.Failed, r.Slowest.Seconds(), r.FewestUp)
	if r.Failed > 0 {
		text += fmt.Sprintf("; the last dial failed after %.1fs; for example: %v", r.LastFailed.Seconds(), r.Errors)
	}
	if r.Back > 0 {
		text += fmt.Sprintf("; all workers up after %.1fs; sessions ended with: %v; failed dials of workers: %v", r.Back.Seconds(), r.Ends, r.Retries)
	}
	return text
}

// fleetload is a fleet of Workers and their engineers. Its arguments are the URL of the
// relay, the number of Workers, and how often a second an engineer dials one of them. It
// prints how long it took until all Workers were up. Then it answers the lines of its
// stdin: "begin" begins a fleetReport, and "settle" prints it as JSON, once all Workers are
// up and reachable again.
func fleetload() {
	number, err1 := strconv.Atoi(os.Args[2])
	rate, err2 := strconv.Atoi(os.Args[3])
	if err1 != nil || err2 != nil {
		panic("want numbers")
	}
	l := &fleetLoad{url: os.Args[1], sessions: map[string]int{}, total: number, changed: make(chan struct{})}
	l.begin()
	for i := range number {
		l.work(fmt.Sprintf("w-%d", i))
	}
	l.awaitUp(context.Background())
	fmt.Printf("up after %dms\n", time.Since(l.begun).Milliseconds())
	if rate > 0 {
		go l.dialAll(time.Second / time.Duration(rate))
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "begin":
			l.begin()
			fmt.Println("begun")
		case "settle":
			report, _ := json.Marshal(l.settle())
			fmt.Println(string(report))
		}
	}
}

type fleetLoad struct {
	url   string
	total int // Workers

	mu       sync.Mutex
	sessions map[string]int // by Worker, without zeros
	changed  chan struct{}  // closed and replaced when all Workers are up
	begun    time.Time
	report   fleetReport
}

func (l *fleetLoad) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = time.Now()
	l.report = fleetReport{FewestUp: len(l.sessions), Errors: map[string]int{}, Ends: map[string]int{}, Retries: map[string]int{}}
}

// work keeps a Worker connected that echoes, after its name. It pings often, as Workers do
// that must notice a frozen relay soon.
func (l *fleetLoad) work(name string) {
	opts := fleetDialOptions(relay.Serve)
	opts.Header = http.Header{relay.InstanceHeader: {fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())}}
	opts.Session = tunnel.SessionOptions{Role: wsmux.Server}
	if l.total <= 1000 {
		opts.Session.PingInterval, opts.Session.PingTimeout = time.Second, 3*time.Second
	}
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(tunnel.Subscriber{
		Up: func(s *tunnel.Session) {
			l.add(name, 1)
			go echoName(s.Session, name)
		},
		Down: func(_ *tunnel.Session, reason error) {
			l.add(name, -1)
			l.count(reason)
		},
	})
	c := &tunnel.Connector{URL: l.url + relay.Path("", name), Options: opts, Sessions: sessions, MaxRetries: -1}
	c.OnRetry = func(_ time.Duration, reason error) {
		if dial, ok := errors.AsType[*tunnel.DialError](reason); ok {
			l.mu.Lock()
			defer l.mu.Unlock()
			countText(l.report.Retries, errors.New(dial.Reason()))
		}
	}
	go func() { panic(c.Run(context.Background())) }()
}

func fleetDialOptions(role relay.Role) *tunnel.DialOptions {
	return &tunnel.DialOptions{
		Proxy: "none", Subprotocols: []string{string(role)},
		TLS: &tls.Config{InsecureSkipVerify: true},
	}
}

// add counts a session of a Worker that has come up or ended.
func (l *fleetLoad) add(name string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wasComplete := len(l.sessions) == l.total
	if l.sessions[name] += n; l.sessions[name] == 0 {
		delete(l.sessions, name)
	}
	l.report.FewestUp = min(l.report.FewestUp, len(l.sessions))
	if !wasComplete && len(l.sessions) == l.total {
		l.report.Back = time.Since(l.begun)
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// count counts the end of the session of a Worker.
func (l *fleetLoad) count(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	countText(l.report.Ends, reason)
}

// countText counts an error by its text without addresses and numbers, and no more than a few
// texts.
func countText(counts map[string]int, err error) {
	const few = 8
	text := numbers.ReplaceAllString(err.Error(), "N")
	if counts[text] > 0 || len(counts) < few {
		counts[text]++
	}
}

var numbers = regexp.MustCompile(`[0-9.]*[:0-9]{4,}|w-\d+|retry-after: \d`)

func (l *fleetLoad) awaitUp(ctx context.Context) {
	for {
		l.mu.Lock()
		complete, changed := len(l.sessions) == l.total, l.changed
		l.mu.Unlock()
		if complete {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// dialAll dials a random Worker at each interval.
func (l *fleetLoad) dialAll(interval time.Duration) {
	for range time.Tick(interval) {
		go func() {
			_ = l.dial(context.Background(), fmt.Sprintf("w-%d", rand.IntN(l.total)))
		}()
	}
}

// dial reaches a Worker as an engineer does, once, and counts that.
func (l *fleetLoad) dial(ctx context.Context, name string) error {
	l.mu.Lock()
	begun := l.begun // the report to count it in
	l.mu.Unlock()
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err := reach(ctx, l.url, name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if begun != l.begun {
		return err
	}
	r := &l.report
	r.Dials++
	if err == nil {
		r.Slowest = max(r.Slowest, time.Since(start))
		return nil
	}
	r.Failed++
	r.LastFailed = time.Since(begun)
	countText(r.Errors, err)
	return err
}

// settle waits until all Workers are up and reachable, and returns the report.
func (l *fleetLoad) settle() fleetReport {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	<-time.After(settleTime)
	l.awaitUp(ctx)
	var wg sync.WaitGroup
	lost := make(chan string, l.total)
	slots := make(chan struct{}, 8)
	for i := range l.total {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			name := fmt.Sprintf("w-%d", i)
			for l.dial(ctx, name) != nil {
				select {
				case <-ctx.Done():
					lost <- name
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	wg.Wait()
	close(lost)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Lost = len(lost)
	return l.report
}

// reach dials a Worker, and checks on a stream that it is that one.
func reach(ctx context.Context, url, name string) error {
	s, err := tunnel.Dial(ctx, url+relay.Path("", name), fleetDialOptions(relay.Dial))
	if err != nil {
		return err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.CloseWithError(context.Cause(ctx)) })
	defer stop()
	stream, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := io.WriteString(stream, "?"); err != nil {
		return err
	}
	_ = stream.CloseWrite()
	got, err := io.ReadAll(stream)
	if err == nil && string(got) != name+"?" {
		err = fmt.Errorf("%s: the echo is %q", name, got)
	}
	return err
}

// echoName echoes the streams of a Worker's session, after its name, until that ends.
func echoName(s *wsmux.Session, name string) {
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		go func() {
			defer stream.Close()
			if _, err := io.WriteString(stream, name); err == nil {
				_, _ = io.Copy(stream, stream)
			}
			_ = stream.CloseWrite()
		}()
	}
}
