package replay

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection/types"
)

const (
	// maxListed is how many differences at one place are listed. Others are counted.
	maxListed = 3

	// maxFound is how many differences of a call are listed.
	maxFound = 1000

	// maxValue is the length of the longest value in JSON, in bytes. Of longer ones,
	// maxShortened bytes are kept.
	maxValue     = 64 << 10
	maxShortened = 1 << 10

	// maxAnyDepth is how many levels of google.protobuf.Any are decoded: each decodes
	// its bytes again.
	maxAnyDepth = 16
)

// Difference is a difference between a recorded and a replayed call.
type Difference struct {
	Path     string // keys[2].create_time, or status, responses, header.NAME, trailer.NAME
	Response int    // the response that it is in, from 1; 0: there is one, or it isn't in a response

	// JSON, "" if there is no value.
	Recorded, Replayed string

	More int // further differences at the same place, which aren't listed

	place *place
}

// diff collects the differences of a call.
type diff struct {
	ctx   context.Context //nolint:containedctx // it is in use only until its method returns
	types types.Resolver

	redact func(protoreflect.FieldDescriptor) bool // nil: no field is secret

	found  []*Difference
	listed map[*place][]*Difference
	cut    bool // there are more than maxFound

	response int             // being compared
	redacted map[string]bool // paths whose values aren't in the recording
	trail    []string        // the names and indexes of the value being compared
	anys     int             // google.protobuf.Any around it
	quiet    bool            // only different is set
	differs  bool
}

// report adds a difference at p. values returns the texts.
func (d *diff) report(p *place, values func() (recorded, replayed string)) {
	d.differs = true
	if d.quiet {
		return
	}
	if d.listed == nil {
		d.listed = map[*place][]*Difference{}
	}
	same := d.listed[p]
	switch {
	case len(same) == maxListed:
		same[maxListed-1].More++
		return
	case len(d.found) == maxFound:
		d.cut = true
		return
	}
	recorded, replayed := values()
	if max(len(recorded), len(replayed)) > maxValue {
		recorded, replayed = shorten(recorded, replayed, maxShortened)
		recorded, replayed = quote(recorded), quote(replayed)
	}
	text := strings.TrimPrefix(strings.Join(d.trail, ""), ".")
	if p.special {
		text = p.path
	}
	f := &Difference{Path: cmp.Or(text, string(p.typ)), Response: d.response, Recorded: recorded, Replayed: replayed, place: p}
	d.found, d.listed[p] = append(d.found, f), append(same, f)
}

// within calls f with a name or an index added to the trail.
func (d *diff) within(name string, f func()) {
	d.trail = append(d.trail, name)
	f()
	d.trail = d.trail[:len(d.trail)-1]
}

// skip sets the paths below that of a message that aren't compared, because the recording
// lacks their values.
func (d *diff) skip(message string, redacted []string) {
	d.redacted = nil
	for _, path := range redacted {
		if d.redacted == nil {
			d.redacted = map[string]bool{}
		}
		d.redacted[join(message, path)] = true
	}
}

func (d *diff) ignores(p *place) bool {
	return p.ignored || d.redacted != nil && (d.redacted[p.path] || d.redacted[p.json])
}

// bytes compares two encoded messages of a type; nil: it is unknown.
func (d *diff) bytes(p *place, md protoreflect.MessageDescriptor, a, b []byte) {
	if bytes.Equal(a, b) || d.ignores(p) {
		return
	}
	defer func(found int) {
		if recover() != nil { // a server may define types that protobuf wouldn't
			d.found, d.listed, d.trail, d.quiet, d.anys = d.found[:found], nil, nil, false, 0
			d.messages(p, d.decode(nil, a), d.decode(nil, b))
		}
	}(len(d.found))
	d.messages(p, d.decode(md, a), d.decode(md, b))
}

// decode decodes a message. Without a type, all its fields are unknown ones.
func (d *diff) decode(md protoreflect.MessageDescriptor, data []byte) protoreflect.Message {
	if md == nil || md.IsPlaceholder() {
		md = (*emptypb.Empty)(nil).ProtoReflect().Descriptor()
	}
	m := dynamicpb.NewMessage(md)
	message.Decode(data, m, d.types)
	return m
}

// messages compares two messages of the same type.
func (d *diff) messages(p *place, a, b protoreflect.Message) {
	switch {
	case d.ignores(p):
	case isAny(a.Descriptor()):
		d.any(p, a, b)
	case isValue(a.Descriptor()) && !d.quiet:
		d.quiet, d.differs = true, false
		d.fields(p, a, b)
		if d.quiet = false; d.differs {
			d.report(p, func() (string, string) { return d.message(a), d.message(b) })
		}
	default:
		d.fields(p, a, b)
	}
}

// isValue reports whether a message is shown as one value, such as a Timestamp.
func isValue(md protoreflect.MessageDescriptor) bool {
	return md.FullName().Parent() == "google.protobuf" && md.Name() != "Empty"
}

func isAny(md protoreflect.MessageDescriptor) bool {
	url, value := md.Fields().ByNumber(1), md.Fields().ByNumber(2)
	return md.FullName() == "google.protobuf.Any" && url != nil && url.Kind() == protoreflect.StringKind && !url.IsList() &&
		value != nil && value.Kind() == protoreflect.BytesKind && !value.IsList()
}

// any compares two google.protobuf.Any: their contents, if they are of the same type.
func (d *diff) any(p *place, a, b protoreflect.Message) {
	url, value := a.Descriptor().Fields().ByNumber(1), a.Descriptor().Fields().ByNumber(2)
	name := func(m protoreflect.Message) protoreflect.FullName {
		text := m.Get(url).String()
		return protoreflect.FullName(text[strings.LastIndexByte(text, '/')+1:])
	}
	if q := p.child("@type", "@type", "@type", ""); name(a) != name(b) {
		if !d.ignores(q) {
			d.within(".@type", func() {
				d.report(q, func() (string, string) { return scalar(url, a.Get(url)), scalar(url, b.Get(url)) })
			})
		}
		return
	}
	q := p.child("@"+string(name(a)), "", "", name(a))
	data, other := a.Get(value).Bytes(), b.Get(value).Bytes()
	if bytes.Equal(data, other) || d.ignores(q) {
		return
	}
	var md protoreflect.MessageDescriptor
	if mt, err := d.types.FindMessageByName(name(a)); err == nil && d.anys < maxAnyDepth {
		md = mt.Descriptor()
	}
	d.anys++
	d.messages(q, d.decode(md, data), d.decode(md, other))
	d.anys--
}

// fields compares the fields of two messages.
func (d *diff) fields(p *place, a, b protoreflect.Message) {
	set := map[protoreflect.FieldNumber]protoreflect.FieldDescriptor{}
	for _, m := range []protoreflect.Message{a, b} {
		m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			set[fd.Number()] = fd
			return true
		})
	}
	for _, number := range slices.Sorted(maps.Keys(set)) {
		fd := set[number]
		q := p.field(fd)
		if d.ignores(q) || d.redact != nil && d.redact(fd) {
			continue
		}
		name := "." + string(fd.Name())
		if fd.IsExtension() {
			name = ".(" + string(fd.FullName()) + ")"
		}
		d.within(name, func() {
			switch {
			case fd.IsMap():
				d.maps(q, fd, a.Get(fd).Map(), b.Get(fd).Map())
			case fd.IsList():
				d.lists(q, fd, a.Get(fd).List(), b.Get(fd).List())
			case fd.HasPresence() && (!a.Has(fd) || !b.Has(fd)):
				d.report(q, func() (string, string) { return d.optional(fd, a), d.optional(fd, b) })
			default:
				d.values(q, fd, a.Get(fd), b.Get(fd))
			}
		})
	}
	d.unknown(p, a.GetUnknown(), b.GetUnknown())
}

// optional returns the text of a field's value, "" if it is unset.
func (d *diff) optional(fd protoreflect.FieldDescriptor, m protoreflect.Message) string {
	if !m.Has(fd) {
		return ""
	}
	return d.text(fd, m.Get(fd))
}

// values compares two values of a field, or of its elements. Not a number equals itself.
func (d *diff) values(p *place, fd protoreflect.FieldDescriptor, a, b protoreflect.Value) {
	if fd.Message() != nil {
		d.messages(p, a.Message(), b.Message())
	} else if !a.Equal(b) {
		d.report(p, func() (string, string) { return scalar(fd, a), scalar(fd, b) })
	}
}

func (d *diff) lists(p *place, fd protoreflect.FieldDescriptor, a, b protoreflect.List) {
	if p.unordered {
		onlyA, onlyB := unmatched(d.keys(p, fd, a), d.keys(p, fd, b))
		for i := range min(len(onlyA), len(onlyB)) {
			d.values(p, fd, a.Get(onlyA[i]), b.Get(onlyB[i]))
		}
		n := min(len(onlyA), len(onlyB))
		for _, i := range onlyA[n:] {
			d.report(p, func() (string, string) { return d.text(fd, a.Get(i)), "" })
		}
		for _, i := range onlyB[n:] {
			d.report(p, func() (string, string) { return "", d.text(fd, b.Get(i)) })
		}
		return
	}
	for i := range max(a.Len(), b.Len()) {
		d.within("["+strconv.Itoa(i)+"]", func() {
			switch {
			case i >= a.Len():
				d.report(p, func() (string, string) { return "", d.text(fd, b.Get(i)) })
			case i >= b.Len():
				d.report(p, func() (string, string) { return d.text(fd, a.Get(i)), "" })
			default:
				d.values(p, fd, a.Get(i), b.Get(i))
			}
		})
	}
}

func (d *diff) maps(p *place, fd protoreflect.FieldDescriptor, a, b protoreflect.Map) {
	keys := map[string]protoreflect.MapKey{}
	for _, m := range []protoreflect.Map{a, b} {
		m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			keys[k.String()] = k
			return true
		})
	}
	value := fd.MapValue()
	for _, text := range slices.Sorted(maps.Keys(keys)) {
		k := keys[text]
		d.within("["+strconv.Quote(text)+"]", func() {
			switch {
			case !a.Has(k):
				d.report(p, func() (string, string) { return "", d.text(value, b.Get(k)) })
			case !b.Has(k):
				d.report(p, func() (string, string) { return d.text(value, a.Get(k)), "" })
			default:
				d.values(p, value, a.Get(k), b.Get(k))
			}
		})
	}
}

// unknown compares unknown fields: the bytes of those with the same number.
func (d *diff) unknown(p *place, a, b []byte) {
	if bytes.Equal(a, b) {
		return
	}
	mine, theirs := byName(a), byName(b)
	names := maps.Clone(mine)
	maps.Copy(names, theirs)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		q := p.child(name, name, name, "")
		if !d.ignores(q) && !bytes.Equal(mine[name], theirs[name]) {
			d.within("."+name, func() {
				d.report(q, func() (string, string) { return d.raw(mine[name]), d.raw(theirs[name]) })
			})
		}
	}
}

// byName returns the fields in b by "+" and their numbers, and the end that isn't a field as
// "@rest".
func byName(b []byte) map[string][]byte {
	fields := map[string][]byte{}
	for len(b) > 0 {
		number, _, n := protowire.ConsumeField(b)
		name := "+" + strconv.Itoa(int(number))
		if n < 0 {
			name, n = "@rest", len(b)
		}
		fields[name] = append(fields[name], b[:n]...)
		b = b[n:]
	}
	return fields
}
