package reflection

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/descriptorpb"
)

// Limits for the files of one upstream. Real servers need less than a tenth of them.
const (
	maxBytes         = 64 * 1024 * 1024 // of files
	maxFileBytes     = 8 * 1024 * 1024  // of one file
	maxFiles         = 20_000
	maxDeclarations  = 2_000_000
	maxNames         = 256 * 1024 * 1024 // bytes of full names, which grow with nesting
	maxNesting       = 64                // of messages; protoc allows 32
	maxPublicImports = 5_000_000         // steps to follow them
)

// budget is the part of the limits that a peer's files haven't used yet.
type budget struct{ files, declarations, names, public int }

func newBudget() budget {
	return budget{maxFiles, maxDeclarations, maxNames, maxPublicImports}
}

var errNesting = fmt.Errorf("messages are nested deeper than %d", maxNesting)

// charge subtracts the cost of a file. Call it before building descriptors.
func (b *budget) charge(fdp *descriptorpb.FileDescriptorProto) error {
	after := *b
	after.files--
	if after.files < 0 {
		return fmt.Errorf("there are more than %d files", maxFiles)
	}
	prefix := len(fdp.GetPackage())
	after.fields(prefix, fdp.GetExtension())
	after.enums(prefix, fdp.GetEnumType())
	for _, s := range fdp.GetService() {
		after.name(prefix, s.GetName())
		for _, m := range s.GetMethod() {
			after.name(prefix+len(s.GetName())+1, m.GetName())
		}
	}
	if err := after.messages(prefix, fdp.GetMessageType(), 1); err != nil {
		return err
	}
	switch {
	case after.declarations < 0:
		return fmt.Errorf("there are more than %d declarations", maxDeclarations)
	case after.names < 0:
		return errors.New("the names are too long")
	}
	*b = after
	return nil
}

// name subtracts one declaration; prefix is the length of its scope's name.
func (b *budget) name(prefix int, name string) {
	b.declarations--
	b.names -= prefix + 1 + len(name)
}

func (b *budget) messages(prefix int, list []*descriptorpb.DescriptorProto, depth int) error {
	if len(list) > 0 && depth > maxNesting {
		return errNesting
	}
	for _, m := range list {
		b.name(prefix, m.GetName())
		inner := prefix + 1 + len(m.GetName())
		b.fields(inner, m.GetField())
		b.fields(inner, m.GetExtension())
		b.enums(inner, m.GetEnumType())
		for _, o := range m.GetOneofDecl() {
			b.name(inner, o.GetName())
		}
		if err := b.messages(inner, m.GetNestedType(), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (b *budget) fields(prefix int, list []*descriptorpb.FieldDescriptorProto) {
	for _, f := range list {
		b.name(prefix, f.GetName())
	}
}

func (b *budget) enums(prefix int, list []*descriptorpb.EnumDescriptorProto) {
	for _, e := range list {
		b.name(prefix, e.GetName())
		for _, v := range e.GetValue() {
			b.name(prefix, v.GetName())
		}
	}
}

// publicImports subtracts cost steps.
func (b *budget) publicImports(cost int) error {
	if cost > b.public {
		return errors.New("too many public imports of public imports")
	}
	b.public -= cost
	return nil
}
