package inspect

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxKinds is how many methods are remembered.
	maxKinds = 1000

	// askAgain is the time after which the kind of a method that isn't known is asked for
	// again, and askTimeout how long that may take.
	askAgain   = 30 * time.Second
	askTimeout = 5 * time.Second
)

// kinds remembers the kinds of methods.
type kinds struct {
	mu    sync.Mutex
	known map[string]string    // by path
	asked map[string]time.Time // methods that aren't known
	queue []string             // methods to ask for
	busy  bool                 // askKinds runs
}

// forget makes k ask again for methods that aren't known.
func (k *kinds) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.asked)
}

// kind returns the kind of a method, "" while it isn't known. It doesn't block: it starts to
// ask for it, and the calls change when it is known.
func (h *Handler) kind(path string) string {
	k := &h.kinds
	k.mu.Lock()
	defer k.mu.Unlock()
	if kind := k.known[path]; kind != "" || time.Since(k.asked[path]) < askAgain {
		return kind
	}
	if len(k.asked) >= maxKinds || k.asked == nil {
		k.asked = map[string]time.Time{}
	}
	k.asked[path] = time.Now()
	if len(k.queue) < maxKinds {
		k.queue = append(k.queue, path)
	}
	if !k.busy {
		k.busy = h.start(h.askKinds)
	}
	return ""
}

// askKinds asks for the kinds of the methods in the queue.
func (h *Handler) askKinds() {
	k := &h.kinds
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.busy = false }()
	for len(k.queue) > 0 && h.ctx.Err() == nil {
		path := k.queue[0]
		k.queue = k.queue[1:]
		k.mu.Unlock()
		md := h.findMethod(path)
		k.mu.Lock()
		if md == nil {
			continue
		}
		if len(k.known) >= maxKinds || k.known == nil {
			k.known = map[string]string{}
		}
		k.known[path] = kindOf(md)
		h.store.Touch(path)
	}
}

func (h *Handler) findMethod(path string) protoreflect.MethodDescriptor {
	ctx, cancel := context.WithTimeout(h.ctx, askTimeout)
	defer cancel()
	return h.decoder.Method(ctx, path)
}

// kindOf returns the kind of a method.
func kindOf(md protoreflect.MethodDescriptor) string {
	switch {
	case md.IsStreamingClient() && md.IsStreamingServer():
		return "bidi"
	case md.IsStreamingClient():
		return "client"
	case md.IsStreamingServer():
		return "server"
	}
	return "unary"
}
