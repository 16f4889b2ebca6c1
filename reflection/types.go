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
		_ = s.extensions.RegisterExtension(dynamicpb.NewExtensionType(c.Extensions().Get(i))) // fails if the number is taken
	}
	for i := range c.Messages().Len() {
		s.addExtensions(c.Messages().Get(i))
	}
}

// ownExtensions returns the extensions that the files of s declare.
func (s *Set) ownExtensions() *protoregistry.Types {
	if s == nil {
		return nil // an empty Types
	}
	return s.extensions
}

// catalogTypes resolves messages by asking a Catalog once for each name. It is needed
// for a google.protobuf.Any, whose type the file doesn't import.
type catalogTypes struct {
	*protoregistry.Types // nil: no extensions
	find                 func(protoreflect.FullName) (*Symbol, error)

	mu    sync.Mutex
	found map[protoreflect.FullName]protoreflect.MessageType // nil: not found
}

func (c *catalogTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if builtinPath(name) != "" {
		return nil, protoregistry.NotFound
	}
	c.mu.Lock()
	defer c.mu.Unlock() // goroutines that need the same type ask once
	mt, cached := c.found[name]
	if !cached {
		if s, err := c.find(name); err == nil {
			if md, ok := s.Descriptor.(protoreflect.MessageDescriptor); ok {
				mt = dynamicpb.NewMessageType(md)
			}
		}
		if len(c.found) < maxParts {
			c.found[name] = mt
		}
	}
	if mt == nil {
		return nil, protoregistry.NotFound
	}
	return mt, nil
}
