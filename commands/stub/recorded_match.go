package stub

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/recording"
)

// A request is a request in a form in which equal ones are ==: encoded by schema, in the
// order of fields and of map keys, and without the fields of mask.
type request struct {
	mask    *mask
	encoded string
}

// A mask has the fields of a recorded request that have lost their values.
type mask struct {
	redacted []string // as recorded
	paths    []fieldPath
}

// A fieldPath leads to a field, through messages, lists and maps. nil at its end stands for
// all unknown fields of a message.
type fieldPath []protoreflect.FieldDescriptor

// newRequest returns a recorded request, or why it can't be compared.
func (m *method) newRequest(e *recording.Event) (r request, reason string) {
	msg := dynamicpb.NewMessage(m.desc.Input())
	if !decode(e.Data, msg) {
		return request{}, "a request doesn't have the method's type"
	}
	k := m.mask(e.Redacted)
	if k == nil {
		return request{}, "a request has lost more than known fields"
	}
	return k.request(msg), ""
}

// decode decodes a recorded request, and reports whether it could. Where protobuf panics, it
// is as in receive.
func decode(data []byte, m proto.Message) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return proto.UnmarshalOptions{AllowPartial: true}.Unmarshal(data, m) == nil
}

// keys returns got as the recorded requests have it, with each mask.
func (m *method) keys(got *dynamicpb.Message) []request {
	var keys []request
	for _, k := range m.recorded.masks {
		keys = append(keys, k.request(got))
	}
	return keys
}

// mask returns the mask for the fields that a recorded request has lost: the same for the
// same ones. It returns nil if it doesn't know where one of them was.
func (m *method) mask(redacted []string) *mask {
	r := m.recorded
	if i := slices.IndexFunc(r.masks, func(k *mask) bool { return slices.Equal(k.redacted, redacted) }); i >= 0 {
		return r.masks[i]
	}
	k := &mask{redacted: redacted}
	for _, text := range redacted {
		path := parsePath(m.desc.Input(), text)
		if len(path) == 0 {
			return nil
		}
		k.paths = append(k.paths, path)
	}
	r.masks = append(r.masks, k)
	return k
}

// parsePath returns the path to a field such as "key.secret". If it leads into a
// google.protobuf.Any, or to a part of a message without a name, it is the path to that message.
func parsePath(md protoreflect.MessageDescriptor, text string) (path fieldPath) {
	for name := range strings.SplitSeq(text, ".") {
		if md == nil {
			break
		}
		if strings.HasPrefix(name, "+") { // an unknown field
			return append(path, nil)
		}
		fd := md.Fields().ByName(protoreflect.Name(name))
		if fd == nil {
			break
		}
		path = append(path, fd)
		if fd.IsMap() {
			fd = fd.MapValue()
		}
		md = fd.Message()
	}
	return path
}

// request returns msg as a request without the fields of k.
func (k *mask) request(msg *dynamicpb.Message) request {
	options := proto.MarshalOptions{Deterministic: true, AllowPartial: true}
	encoded, _ := options.Marshal(k.without(msg)) // a message that has been decoded can be encoded
	return request{k, string(encoded)}
}

// without returns msg without the fields of k. It doesn't change msg.
func (k *mask) without(msg *dynamicpb.Message) *dynamicpb.Message {
	if len(k.paths) == 0 {
		return msg
	}
	msg, _ = proto.Clone(msg).(*dynamicpb.Message)
	for _, path := range k.paths {
		clearPath(msg, path)
	}
	return msg
}

// clearPath clears the field at path, in all elements of lists and maps.
func clearPath(m protoreflect.Message, path fieldPath) {
	fd := path[0]
	switch {
	case fd == nil:
		m.SetUnknown(nil)
	case len(path) == 1:
		m.Clear(fd)
	case !m.Has(fd):
	case fd.IsMap():
		m.Mutable(fd).Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			clearPath(v.Message(), path[1:])
			return true
		})
	case fd.IsList():
		for i := range m.Mutable(fd).List().Len() {
			clearPath(m.Mutable(fd).List().Get(i).Message(), path[1:])
		}
	default:
		clearPath(m.Mutable(fd).Message(), path[1:])
	}
}

// matching returns those of calls in which one of keys is the request after n others.
func (r *recorded) matching(calls []*recordedCall, n int, keys []request) []*recordedCall {
	if n == 0 && len(keys) == 1 {
		return r.first[keys[0]]
	}
	var found []*recordedCall
	if n == 0 {
		for _, key := range keys {
			found = append(found, r.first[key]...)
		}
		slices.SortFunc(found, func(a, b *recordedCall) int { return cmp.Compare(a.index, b.index) })
		return found
	}
	for _, c := range calls {
		if len(c.requests) > n && slices.Contains(keys, c.requests[n]) {
			found = append(found, c)
		}
	}
	return found
}
