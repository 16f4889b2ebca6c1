package tracing

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// askAgain is the time after which a server is asked again for a service that it
	// couldn't describe.
	askAgain = 30 * time.Second

	// maxUnknown is how many services without a description are remembered.
	maxUnknown = 1000
)

// schema finds the types of messages. It is used by one goroutine at a time, except for
// forget.
type schema struct {
	stale   atomic.Bool
	catalog *reflection.Catalog
	methods map[string]*reflection.Symbol // by path
	unknown map[string]time.Time          // services, and when the server was asked for them

	found func(protoreflect.FileDescriptor) // receives the files of methods; may be nil
}

func newSchema(catalog *reflection.Catalog) *schema {
	return &schema{catalog: catalog, methods: map[string]*reflection.Symbol{}, unknown: map[string]time.Time{}}
}

// forget makes s ask again for everything, because the server may have changed.
func (s *schema) forget() {
	s.catalog.Refresh()
	s.stale.Store(true)
}

// renew reports whether forget was called, and then empties the cache.
func (s *schema) renew() bool {
	stale := s.stale.Swap(false)
	if stale {
		clear(s.methods)
		clear(s.unknown)
	}
	return stale
}

// find returns the type of the message of e, or nil, and a resolver of other types until
// ctx ends. It may ask the server, and blocks meanwhile.
func (s *schema) find(ctx context.Context, e *trace.Event) (protoreflect.MessageDescriptor, reflection.TypeResolver) {
	symbol := s.method(ctx, e.Method)
	if symbol == nil {
		return nil, nil
	}
	method := symbol.Descriptor.(protoreflect.MethodDescriptor) //nolint:errcheck,forcetypeassert // checked by method
	md := method.Output()
	if e.Type == trace.ClientMessage {
		md = method.Input()
	}
	types := symbol.Types(ctx)
	if s.found != nil {
		types = foundTypes{types, s.found}
	}
	return md, types
}

// foundTypes passes on the files of the messages that it finds, such as those in a
// google.protobuf.Any.
type foundTypes struct {
	reflection.TypeResolver
	found func(protoreflect.FileDescriptor)
}

func (f foundTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	mt, err := f.TypeResolver.FindMessageByName(name)
	if err == nil {
		f.found(mt.Descriptor().ParentFile())
	}
	return mt, err
}

func (f foundTypes) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return f.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

func (s *schema) method(ctx context.Context, path string) *reflection.Symbol {
	if symbol, ok := s.methods[path]; ok {
		return symbol
	}
	service, name, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	full := protoreflect.FullName(service + "." + name)
	if !ok || !full.IsValid() || time.Since(s.unknown[service]) < askAgain {
		return nil
	}
	symbol, err := s.catalog.Find(ctx, full)
	if err == nil {
		if _, ok := symbol.Descriptor.(protoreflect.MethodDescriptor); ok {
			s.methods[path] = symbol
			if s.found != nil {
				s.found(symbol.ParentFile())
			}
			return symbol
		}
	}
	if len(s.unknown) >= maxUnknown {
		clear(s.unknown)
	}
	s.unknown[service] = time.Now()
	return nil
}
