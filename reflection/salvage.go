package reflection

import (
	"regexp"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxLeftOut bounds the declarations of a file that are left out.
const maxLeftOut = 100

// salvage builds and registers the descriptor of a file without the declarations that err
// and the errors after it name, which it removes from fdp. Other declarations that need these have placeholders. An
// attempt costs that many steps.
func (b *builder) salvage(fdp *descriptorpb.FileDescriptorProto, cost int, err error) (protoreflect.FileDescriptor, error) {
	var leftOut []string
	for range maxLeftOut {
		r := &remover{}
		for _, r.name = range mentioned(err) {
			if r.removeFrom(fdp); r.removed != "" {
				break
			}
		}
		if r.removed == "" {
			return nil, err
		}
		leftOut = append(leftOut, r.removed+" is left out: "+err.Error())
		if err := b.budget.spend(cost); err != nil {
			return nil, err
		}
		var fd protoreflect.FileDescriptor
		if fd, err = b.register(fdp, true); err == nil {
			for _, text := range leftOut {
				b.incomplete("%q: %s", fdp.GetName(), text)
			}
			return fd, nil
		}
	}
	return nil, err
}

var mentionedName = regexp.MustCompile(`"([\w.]+)"|\bover ([\w.]+)`)

// mentioned returns the names in an error of protodesc or protoregistry.
func mentioned(err error) []string {
	var names []string
	for _, m := range mentionedName.FindAllStringSubmatch(err.Error(), -1) {
		names = append(names, m[1]+m[2])
	}
	return names
}

// remover removes the first declaration with a full name: a message, an enum, an
// extension, a service or a method. A message or an enum also has the names of its
// fields, oneofs and values.
type remover struct {
	name    string
	removed string // the full name
}

func (r *remover) removeFrom(fdp *descriptorpb.FileDescriptorProto) {
	prefix := ""
	if fdp.GetPackage() != "" {
		prefix = fdp.GetPackage() + "."
	}
	fdp.EnumType = r.enums(prefix, fdp.GetEnumType())
	fdp.MessageType = r.messages(prefix, fdp.GetMessageType())
	fdp.Extension = remove(r, prefix, fdp.GetExtension(), nil)
	fdp.Service = remove(r, prefix, fdp.GetService(), func(full string, s *descriptorpb.ServiceDescriptorProto) bool {
		s.Method = remove(r, full+".", s.GetMethod(), nil)
		return false
	})
}

func (r *remover) enums(prefix string, list []*descriptorpb.EnumDescriptorProto) []*descriptorpb.EnumDescriptorProto {
	return remove(r, prefix, list, func(_ string, e *descriptorpb.EnumDescriptorProto) bool {
		return has(r, prefix, e.GetValue()) // the scope of the values is that of the enum
	})
}

func (r *remover) messages(prefix string, list []*descriptorpb.DescriptorProto) []*descriptorpb.DescriptorProto {
	return remove(r, prefix, list, func(full string, m *descriptorpb.DescriptorProto) bool {
		inner := full + "."
		m.EnumType = r.enums(inner, m.GetEnumType())
		m.NestedType = r.messages(inner, m.GetNestedType())
		m.Extension = remove(r, inner, m.GetExtension(), nil)
		return has(r, inner, m.GetField()) || has(r, inner, m.GetOneofDecl())
	})
}

type named interface{ GetName() string }

// remove returns list without the first declaration that has the name, or for which inside
// returns true. inside may be nil; it may remove declarations inside d.
func remove[D named](r *remover, prefix string, list []D, inside func(full string, d D) bool) []D {
	return slices.DeleteFunc(list, func(d D) bool {
		full := prefix + d.GetName()
		if r.removed == "" && (full == r.name || inside != nil && inside(full, d)) && r.removed == "" {
			r.removed = full
			return true
		}
		return false
	})
}

// has reports whether the name is that of one of list.
func has[D named](r *remover, prefix string, list []D) bool {
	return slices.ContainsFunc(list, func(d D) bool { return prefix+d.GetName() == r.name })
}
