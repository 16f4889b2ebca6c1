package reflection

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// lazyTypes is the types of a Set that asks for a message that isn't in it: what
// is in a google.protobuf.Any is imported by nobody.
type lazyTypes struct {
	types
	find func(protoreflect.FullName) (*Symbol, error)

	mu    sync.Mutex
	found map[protoreflect.FullName]protoreflect.MessageType // nil: asked in vain
}

func newLazyTypes(set *Set, find func(protoreflect.FullName) (*Symbol, error)) *lazyTypes {
	return &lazyTypes{types: types{set}, find: find, found: make(map[protoreflect.FullName]protoreflect.MessageType)}
}

func (t *lazyTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if _, err := t.set.Files().FindDescriptorByName(name); err == nil || builtinPath(name) != "" {
		return t.types.FindMessageByName(name)
	}
	t.mu.Lock()
	defer t.mu.Unlock() // others that look for the same need not ask too
	mt, asked := t.found[name]
	if !asked {
		if s, err := t.find(name); err == nil {
			if md, ok := s.Descriptor.(protoreflect.MessageDescriptor); ok {
				mt = dynamicpb.NewMessageType(md)
			}
		}
		if len(t.found) < maxParts {
			t.found[name] = mt
		}
	}
	if mt == nil {
		return protoregistry.GlobalTypes.FindMessageByName(name)
	}
	return mt, nil
}

func (t *lazyTypes) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return t.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}
