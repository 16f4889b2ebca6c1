// Package types resolves messages and extensions by name.
package types

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Resolver resolves the messages and extensions that protojson, prototext and proto need
// for a google.protobuf.Any and for extensions. Its error for an unknown name is
// [protoregistry.NotFound].
type Resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

// Resolvers is a Resolver that asks each of its elements in turn, then
// [protoregistry.GlobalTypes], and returns the first type found. A nil Resolvers has only
// the types linked into the program.
type Resolvers []Resolver

// MaxName bounds the length of full names, in bytes. A registry looks up each prefix of a
// name, which would take hours for a name of a megabyte in a peer's message.
const MaxName = 1024

// FindMessageByName returns the message with a full name.
func (rs Resolvers) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if len(name) > MaxName {
		return nil, protoregistry.NotFound
	}
	return first(rs, func(r Resolver) (protoreflect.MessageType, error) { return r.FindMessageByName(name) })
}

// FindMessageByURL returns the message whose full name is the last part of url.
func (rs Resolvers) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return rs.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

// FindExtensionByName returns the extension with a full name.
func (rs Resolvers) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	if len(name) > MaxName {
		return nil, protoregistry.NotFound
	}
	return first(rs, func(r Resolver) (protoreflect.ExtensionType, error) { return r.FindExtensionByName(name) })
}

// FindExtensionByNumber returns the extension of message with a number.
func (rs Resolvers) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return first(rs, func(r Resolver) (protoreflect.ExtensionType, error) { return r.FindExtensionByNumber(message, number) })
}

func first[T any](rs Resolvers, find func(Resolver) (T, error)) (T, error) {
	for _, r := range rs {
		if t, err := find(r); err == nil {
			return t, nil
		}
	}
	return find(protoregistry.GlobalTypes)
}
