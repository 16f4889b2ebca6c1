package replay

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// unmatched returns the indexes of the keys in a without an equal one in b, and the other
// way round.
func unmatched(a, b []string) (onlyA, onlyB []int) {
	left := map[string]int{}
	for _, key := range b {
		left[key]++
	}
	for i, key := range a {
		if left[key] == 0 {
			onlyA = append(onlyA, i)
		} else {
			left[key]--
		}
	}
	for i, key := range slices.Backward(b) { // the last ones of equal keys
		if left[key] > 0 {
			left[key]--
			onlyB = append(onlyB, i)
		}
	}
	slices.Reverse(onlyB)
	return onlyA, onlyB
}

// keys returns a text for each element of a list. Equal elements have equal texts.
func (d *diff) keys(p *place, fd protoreflect.FieldDescriptor, list protoreflect.List) []string {
	keys := make([]string, list.Len())
	for i := range keys {
		keys[i] = d.key(p, fd, list.Get(i))
	}
	return keys
}

// key returns a text for a value. It removes the fields of a message that aren't compared.
func (d *diff) key(p *place, fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if fd.Message() != nil {
		d.prune(p, v.Message())
	}
	return d.text(fd, v)
}

// prune removes the fields of m that aren't compared, except for those in a
// google.protobuf.Any, and sorts the lists whose order doesn't matter.
func (d *diff) prune(p *place, m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		q := p.field(fd)
		switch {
		case d.ignores(q):
			m.Clear(fd)
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					d.prune(q, v.Message())
					return true
				})
			}
		case fd.IsList() && q.unordered:
			d.sort(q, fd, v.List())
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				d.prune(q, v.List().Get(i).Message())
			}
		default:
			d.prune(q, v.Message())
		}
		return true
	})
}

// sort sorts a list by its keys.
func (d *diff) sort(p *place, fd protoreflect.FieldDescriptor, list protoreflect.List) {
	type element struct {
		key   string
		value protoreflect.Value
	}
	elements := make([]element, list.Len())
	for i := range elements {
		elements[i] = element{d.key(p, fd, list.Get(i)), list.Get(i)}
	}
	slices.SortStableFunc(elements, func(a, b element) int { return strings.Compare(a.key, b.key) })
	for i, e := range elements {
		list.Set(i, e.value)
	}
}
