package reflection

import (
	"errors"

	"github.com/jhump/protoreflect/desc" //nolint:staticcheck // grpcurl's types
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// standIns builds copies of files in which the types that salvage has left out are empty
// ones, because grpcurl's packages accept no placeholders.
type standIns struct{ registry *protoregistry.Files }

var errMissingFile = errors.New("an imported file is missing")

// wrapIncomplete is like wrap, but the types that salvage has left out of d's file and its
// imports are empty.
func wrapIncomplete(d protoreflect.Descriptor) (desc.Descriptor, error) {
	wrapped, err := wrap(d)
	if err != nil {
		if c, completeErr := complete(d); completeErr == nil {
			return wrap(c)
		}
	}
	return wrapped, err
}

// complete returns the descriptor with the name of d in a copy of its file.
func complete(d protoreflect.Descriptor) (protoreflect.Descriptor, error) {
	s := &standIns{new(protoregistry.Files)}
	if err := s.add(d.ParentFile()); err != nil {
		return nil, err
	}
	return s.registry.FindDescriptorByName(d.FullName())
}

// add adds a copy of fd after its imports and the stand-ins for its missing types.
func (s *standIns) add(fd protoreflect.FileDescriptor) error {
	if _, err := s.registry.FindFileByPath(fd.Path()); err == nil {
		return nil
	}
	if fd.IsPlaceholder() {
		return errMissingFile
	}
	for i := range fd.Imports().Len() {
		if err := s.add(fd.Imports().Get(i).FileDescriptor); err != nil {
			return err
		}
	}
	fdp := protodesc.ToFileDescriptorProto(fd)
	for name, d := range missingTypes(fd) {
		path := "missing/" + string(name) + ".proto"
		fdp.Dependency = append(fdp.Dependency, path)
		if _, err := s.registry.FindFileByPath(path); err == nil {
			continue
		}
		if err := s.register(standIn(path, d)); err != nil {
			return err
		}
	}
	return s.register(fdp)
}

func (s *standIns) register(fdp *descriptorpb.FileDescriptorProto) error {
	fd, err := protodesc.NewFile(fdp, s.registry)
	if err != nil {
		return err
	}
	return s.registry.RegisterFile(fd)
}

// standIn returns a file with an empty type that has the name of d.
func standIn(path string, d protoreflect.Descriptor) *descriptorpb.FileDescriptorProto {
	name := new(string(d.FullName().Name()))
	fdp := &descriptorpb.FileDescriptorProto{Name: &path, Syntax: new("proto3"), Package: new(string(d.FullName().Parent()))}
	if _, ok := d.(protoreflect.EnumDescriptor); ok {
		zero := &descriptorpb.EnumValueDescriptorProto{Name: new(*name + "_0"), Number: new(int32(0))}
		fdp.EnumType = []*descriptorpb.EnumDescriptorProto{{Name: name, Value: []*descriptorpb.EnumValueDescriptorProto{zero}}}
	} else {
		fdp.MessageType = []*descriptorpb.DescriptorProto{{Name: name}}
	}
	return fdp
}

// missingTypes returns the placeholders for types that a file refers to.
func missingTypes(fd protoreflect.FileDescriptor) map[protoreflect.FullName]protoreflect.Descriptor {
	types := make(map[protoreflect.FullName]protoreflect.Descriptor)
	add := func(d protoreflect.Descriptor) {
		if d != nil && d.IsPlaceholder() {
			types[d.FullName()] = d
		}
	}
	eachIn(fd, func(d protoreflect.Descriptor) {
		f, ok := d.(protoreflect.FieldDescriptor)
		if !ok {
			return
		}
		add(f.ContainingMessage()) // of an extension
		if f.IsMap() {
			f = f.MapValue()
		}
		add(f.Enum())
		add(f.Message())
	})
	for i := range fd.Services().Len() {
		for methods, k := fd.Services().Get(i).Methods(), 0; k < methods.Len(); k++ {
			add(methods.Get(k).Input())
			add(methods.Get(k).Output())
		}
	}
	return types
}
