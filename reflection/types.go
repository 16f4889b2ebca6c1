package reflection

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// extension is one extension field of a Set.
type extension struct {
	number protoreflect.FieldNumber
	xt     protoreflect.ExtensionType
}

// indexExtensions fills extensions and byName. Of two extensions with one number
// the first wins.
func (s *Set) indexExtensions() {
	s.extensions = make(map[protoreflect.FullName][]*extension)
	s.byName = make(map[protoreflect.FullName]*extension)
	for _, fdp := range s.order {
		if fd, err := s.registry.FindFileByPath(fdp.GetName()); err == nil {
			s.addExtensions(fd)
		}
	}
	for message, list := range s.extensions {
		slices.SortStableFunc(list, func(a, b *extension) int { return cmp.Compare(a.number, b.number) })
		s.extensions[message] = slices.CompactFunc(list, func(a, b *extension) bool { return a.number == b.number })
	}
}

// container is a file or a message.
type container interface {
	Messages() protoreflect.MessageDescriptors
	Extensions() protoreflect.ExtensionDescriptors
}

func (s *Set) addExtensions(c container) {
	for i := range c.Extensions().Len() {
		x := c.Extensions().Get(i)
		message := x.ContainingMessage().FullName()
		e := &extension{x.Number(), dynamicpb.NewExtensionType(x)}
		s.extensions[message] = append(s.extensions[message], e)
		s.byName[x.FullName()] = e
	}
	for i := range c.Messages().Len() {
		s.addExtensions(c.Messages().Get(i))
	}
}

// findExtension returns the extension of message with a number.
func (s *Set) findExtension(message protoreflect.FullName, number protoreflect.FieldNumber) *extension {
	if s == nil {
		return nil
	}
	list := s.extensions[message]
	i, ok := slices.BinarySearchFunc(list, number, func(e *extension, n protoreflect.FieldNumber) int {
		return cmp.Compare(e.number, n)
	})
	if !ok {
		return nil
	}
	return list[i]
}

// types is the TypeResolver of a Set.
type types struct{ set *Set }

func (t types) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if d, err := t.set.registry.FindDescriptorByName(name); err == nil {
		if md, ok := d.(protoreflect.MessageDescriptor); ok {
			return dynamicpb.NewMessageType(md), nil
		}
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (t types) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return t.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

func (t types) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	if e := t.set.byName[name]; e != nil {
		return e.xt, nil
	}
	return protoregistry.GlobalTypes.FindExtensionByName(name)
}

func (t types) FindExtensionByNumber(
	message protoreflect.FullName, number protoreflect.FieldNumber,
) (protoreflect.ExtensionType, error) {
	if e := t.set.findExtension(message, number); e != nil {
		return e.xt, nil
	}
	return protoregistry.GlobalTypes.FindExtensionByNumber(message, number)
}

func (t types) RangeExtensionsByMessage(message protoreflect.FullName, f func(protoreflect.ExtensionType) bool) {
	list := t.set.extensions[message]
	if len(list) == 0 {
		protoregistry.GlobalTypes.RangeExtensionsByMessage(message, f)
	}
	for _, e := range list {
		if !f(e.xt) {
			return
		}
	}
}
