package message

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/types"
)

// rest is the path of a part of a message without a name.
const rest = "@rest"

// maxRedactDepth bounds the nesting of messages in which a Redactor looks for secrets. It
// copies them once for every level. Deeper ones are removed.
const maxRedactDepth = 100

// A Redactor removes secrets from encoded messages. It changes nothing else of their bytes.
// It is used by one goroutine at a time.
type Redactor struct {
	IsSecret    func(fd protoreflect.FieldDescriptor) bool
	HideUnknown bool // remove bytes that have no field names, too

	concerned map[protoreflect.MessageDescriptor]bool // results of isConcerned
}

// Redact returns data, a message of type md, without its secrets: strings and bytes become
// [Redacted], other fields are removed. It also returns the sorted paths of these fields, such
// as "key.secret", in which unknown fields are "+" and their number. A message that may
// have secrets also loses its end if that isn't a field, as when it was cut off (rest).
// types finds extensions and the types of google.protobuf.Any messages; it may be nil. The
// result may be data itself.
func (r *Redactor) Redact(data []byte, md protoreflect.MessageDescriptor, types types.Resolver) (redacted []byte, paths []string) {
	if !r.isConcerned(md) {
		return data, nil
	}
	defer func() {
		if recover() != nil { // a server may define types that protobuf wouldn't
			redacted, paths = nil, []string{rest}
		}
	}()
	w := redaction{r, &decoder{orGlobal(types)}, map[string]bool{}}
	redacted = w.message(make([]byte, 0, len(data)), data, md, "", maxRedactDepth)
	return redacted, slices.Sorted(maps.Keys(w.paths))
}

// maxConcerned is how many results of isConcerned are remembered, besides those of one search.
const maxConcerned = 100_000

// isConcerned reports whether messages of type md may have secrets.
func (r *Redactor) isConcerned(md protoreflect.MessageDescriptor) bool {
	if r.HideUnknown {
		return true
	}
	if concerned, ok := r.concerned[md]; ok {
		return concerned
	}
	r.search(md)
	return r.concerned[md]
}

// search sets the results for md, the types of its fields, and theirs. A server may have any
// number of types, so each is looked at once.
func (r *Redactor) search(md protoreflect.MessageDescriptor) {
	types := []protoreflect.MessageDescriptor{md}
	users := map[protoreflect.MessageDescriptor][]protoreflect.MessageDescriptor{md: nil} // types with fields of a type
	var concerned []protoreflect.MessageDescriptor
	for i := 0; i < len(types); i++ {
		md := types[i]
		if known, ok := r.concerned[md]; ok || r.hasSecrets(md) {
			if known || !ok {
				concerned = append(concerned, md)
			}
			continue
		}
		for i := range md.Fields().Len() {
			if used := md.Fields().Get(i).Message(); used != nil {
				if _, ok := users[used]; !ok {
					types = append(types, used)
				}
				users[used] = append(users[used], md)
			}
		}
	}
	if r.concerned == nil || len(r.concerned) >= maxConcerned {
		r.concerned = map[protoreflect.MessageDescriptor]bool{}
	}
	for _, md := range types {
		r.concerned[md] = false
	}
	for len(concerned) > 0 {
		md := concerned[len(concerned)-1]
		concerned = concerned[:len(concerned)-1]
		if !r.concerned[md] {
			r.concerned[md] = true
			concerned = append(concerned, users[md]...)
		}
	}
}

// hasSecrets reports whether a field of md itself is secret, or may have a message of any
// type.
func (r *Redactor) hasSecrets(md protoreflect.MessageDescriptor) bool {
	if isAny(md) || md.ExtensionRanges().Len() > 0 {
		return true
	}
	for i := range md.Fields().Len() {
		if !md.IsMapEntry() && r.IsSecret(md.Fields().Get(i)) {
			return true
		}
	}
	return false
}

func isAny(md protoreflect.MessageDescriptor) bool { return md.FullName() == "google.protobuf.Any" }

// redaction is one run of Redact.
type redaction struct {
	*Redactor
	decoder *decoder
	paths   map[string]bool
}

// message appends data, a message of type md at path, to b without its secrets.
func (w *redaction) message(b, data []byte, md protoreflect.MessageDescriptor, path string, depth int) []byte {
	for all := data; len(data) > 0; {
		number, kind, n := protowire.ConsumeField(data)
		if n < 0 { // perhaps a part of a secret
			w.remove(path, rest)
			return b
		}
		_, _, tag := protowire.ConsumeTag(data)
		field, value := data[:n], data[tag:n]
		data = data[n:]
		fd := w.decoder.find(md, number)
		name := path
		if fd != nil && !md.IsMapEntry() {
			name = join(path, string(fd.Name()))
		}
		switch {
		case fd != nil && !md.IsMapEntry() && w.IsSecret(fd):
			w.paths[name] = true
			if kind == protowire.BytesType && (fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind) {
				b = protowire.AppendString(append(b, field[:tag]...), Redacted)
			}
		case fd == nil || !fits(kind, fd):
			if w.HideUnknown {
				w.remove(path, "+"+strconv.Itoa(int(number)))
			} else {
				b = append(b, field...)
			}
		case isAny(md) && fd.Name() == "value":
			b = w.any(append(b, field[:tag]...), value, anyType(all), path, depth)
		case fd.Message() != nil && w.isConcerned(fd.Message()):
			b = w.nested(append(b, field[:tag]...), value, fd, name, depth)
		default:
			b = append(b, field...)
		}
	}
	return b
}

// nested appends the message that is the value of fd to b.
func (w *redaction) nested(b, value []byte, fd protoreflect.FieldDescriptor, path string, depth int) []byte {
	if fd.Kind() == protoreflect.GroupKind {
		inner, _ := protowire.ConsumeGroup(fd.Number(), value)
		return protowire.AppendGroup(b, fd.Number(), w.inner(inner, fd.Message(), path, depth-1))
	}
	inner, _ := protowire.ConsumeBytes(value)
	return protowire.AppendBytes(b, w.inner(inner, fd.Message(), path, depth-1))
}

// any appends the value of a google.protobuf.Any whose type has this name to b.
func (w *redaction) any(b, value []byte, name protoreflect.FullName, path string, depth int) []byte {
	inner, _ := protowire.ConsumeBytes(value)
	mt, err := w.decoder.types.FindMessageByName(name)
	switch {
	case err == nil && w.isConcerned(mt.Descriptor()):
		inner = w.inner(inner, mt.Descriptor(), path, depth-1)
	case err != nil && w.HideUnknown:
		w.remove(path, "value")
		inner = nil
	}
	return protowire.AppendBytes(b, inner)
}

// anyType returns the name of the type of an encoded google.protobuf.Any.
func anyType(data []byte) (name protoreflect.FullName) {
	const typeURL = 1
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeField(data)
		if n < 0 {
			return name
		}
		if _, _, tag := protowire.ConsumeTag(data); number == typeURL && kind == protowire.BytesType {
			url, _ := protowire.ConsumeString(data[tag:n])
			name = protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
		}
		data = data[n:]
	}
	return name
}

func (w *redaction) inner(data []byte, md protoreflect.MessageDescriptor, path string, depth int) []byte {
	if depth == 0 {
		w.remove(path, rest)
		return nil
	}
	return w.message(nil, data, md, path, depth)
}

// remove notes that a part of the message at path is removed.
func (w *redaction) remove(path, part string) { w.paths[join(path, part)] = true }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fits reports whether the value of fd may have this type on the wire.
func fits(kind protowire.Type, fd protoreflect.FieldDescriptor) bool {
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return kind == protowire.BytesType
	case protoreflect.GroupKind:
		return kind == protowire.StartGroupType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return kind == protowire.Fixed32Type || kind == protowire.BytesType && fd.IsList()
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return kind == protowire.Fixed64Type || kind == protowire.BytesType && fd.IsList()
	}
	return kind == protowire.VarintType || kind == protowire.BytesType && fd.IsList()
}
