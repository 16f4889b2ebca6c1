package reflection

import (
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// container is a file or a message.
type container interface {
	Messages() protoreflect.MessageDescriptors
	Extensions() protoreflect.ExtensionDescriptors
}

// addExtensions adds the extensions that c declares to s. Of two with the same number
// the first wins.
func (s *Set) addExtensions(c container) {
	for i := range c.Extensions().Len() {
		_ = s.extensions.RegisterExtension(dynamicpb.NewExtensionType(c.Extensions().Get(i))) // fails for the second
	}
	for i := range c.Messages().Len() {
		s.addExtensions(c.Messages().Get(i))
	}
}

// ownExtensions returns the extensions that the files of s declare.
func (s *Set) ownExtensions() *protoregistry.Types {
	if s == nil {
		return nil // which is empty
	}
	return s.extensions
}

// asked resolves messages by asking a Catalog, once for each name: no file imports the
// type of the message in a google.protobuf.Any.
type asked struct {
	*protoregistry.Types // nil: it has no extensions
	find                 func(protoreflect.FullName) (*Symbol, error)

	mu    sync.Mutex
	found map[protoreflect.FullName]protoreflect.MessageType // nil: not found
}

func (a *asked) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if builtinPath(name) != "" {
		return nil, protoregistry.NotFound
	}
	a.mu.Lock()
	defer a.mu.Unlock() // goroutines that need the same type ask once
	mt, known := a.found[name]
	if !known {
		if s, err := a.find(name); err == nil {
			if md, ok := s.Descriptor.(protoreflect.MessageDescriptor); ok {
				mt = dynamicpb.NewMessageType(md)
			}
		}
		if len(a.found) < maxParts {
			a.found[name] = mt
		}
	}
	if mt == nil {
		return nil, protoregistry.NotFound
	}
	return mt, nil
}
