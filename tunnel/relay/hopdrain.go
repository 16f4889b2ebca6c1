package relay

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// HopHeader has the secret of a hop, which the relay chooses that sends the handshake on. When
// it drains, it asks the relay that has the session to tell the engineer to dial again:
//
//	DELETE <base>/v1/hop/SECRET         204, or 404
//
// Nobody else knows the secret, so the request needs no credentials.
const HopHeader = "Wstun-Hop"

const hopPath = "/v1/hop/"

const (
	maxSecret = 64 // bytes; longer ones count as none

	moveTimeout  = 5 * time.Second // of the requests for one hop
	movesAtOnce  = 16
	moveAttempts = 10 // the session may just be starting
)

// moveHops asks for the end of the hops, evenly spread over pace.
func (r *Relay) moveHops(ctx context.Context, hops []hop, pace time.Duration) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, movesAtOnce)
	paced(ctx, hops, pace, func(h hop) {
		slots <- struct{}{}
		wg.Go(func() {
			r.moveHop(ctx, h)
			<-slots
		})
	})
}

// moveHop asks for the end of h. If that fails, the hop lasts until the engineer ends it, or
// this relay is closed.
func (r *Relay) moveHop(ctx context.Context, h hop) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	for range moveAttempts {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, strings.TrimSuffix(h.base, "/")+hopPath+h.secret, nil)
		if err != nil {
			return
		}
		resp, err := r.opts.Hop.RoundTrip(req)
		if err != nil {
			return
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			return
		}
		sleep(ctx, askAgain)
	}
}

// endHop tells the engineer whose handshake came with the secret to dial again.
func (r *Relay) endHop(w http.ResponseWriter, secret string) {
	r.mu.Lock()
	s := r.hopped[secret]
	r.mu.Unlock()
	if s == nil {
		answerText(w, http.StatusNotFound, "no such hop")
		return
	}
	s.AnnounceGoAway()
	w.WriteHeader(http.StatusNoContent)
}
