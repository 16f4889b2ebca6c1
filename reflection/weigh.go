package reflection

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// weight is an upper estimate of memory, in bytes.
type weight struct {
	decoded int // the Go messages that proto.Unmarshal makes of an encoded message
	built   int // the descriptors that protodesc and the registries make of them, without full names
	fields  int // the number of fields read, which isn't memory
}

// cost is the memory that protodesc and the registries allocate for a declaration, in
// bytes, including the indexes that are built on first use.
type cost struct {
	first int // of each of the first eight in a scope, because indexes have room for eight
	more  int // of each further one
}

// costs holds the costs of declarations. Everything else, such as options, is copied and
// so costs as much as its Go message. TestWeigh measures them.
var costs = map[protoreflect.FullName]cost{
	nameOf(&descriptorpb.FileDescriptorProto{}):                   {1500, 1500},
	nameOf(&descriptorpb.DescriptorProto{}):                       {1750, 1750},
	nameOf(&descriptorpb.FieldDescriptorProto{}):                  {300, 500},
	nameOf(&descriptorpb.OneofDescriptorProto{}):                  {300, 380},
	nameOf(&descriptorpb.EnumDescriptorProto{}):                   {850, 900},
	nameOf(&descriptorpb.EnumValueDescriptorProto{}):              {180, 250},
	nameOf(&descriptorpb.ServiceDescriptorProto{}):                {600, 600},
	nameOf(&descriptorpb.MethodDescriptorProto{}):                 {200, 250},
	nameOf(&descriptorpb.DescriptorProto_ExtensionRange{}):        {40, 40},
	nameOf(&descriptorpb.DescriptorProto_ReservedRange{}):         {24, 24},
	nameOf(&descriptorpb.EnumDescriptorProto_EnumReservedRange{}): {24, 24},
	nameOf(&descriptorpb.SourceCodeInfo_Location{}):               {280, 280},
}

var fileType = (*descriptorpb.FileDescriptorProto)(nil).ProtoReflect().Descriptor()

func nameOf(m proto.Message) protoreflect.FullName { return m.ProtoReflect().Descriptor().FullName() }

const (
	pointerBytes = 16  // an element of a slice of pointers, which may have spare capacity
	stringBytes  = 48  // the header of a string and its element of a slice, and rounding
	listedBytes  = 112 // a string such as an import or a reserved name in a slice and an index
	scalarBytes  = 8

	extensionBytes = 250 // an extension costs more than a field
)

var (
	errMalformed = errors.New("malformed")
	errNesting   = fmt.Errorf("messages are nested deeper than %d", maxNesting)
)

// weigh estimates the memory for an encoded message of type md without decoding it,
// because a message of two bytes may need hundreds of bytes when decoded. The error is
// errMemory as soon as the sum of both exceeds limit.
func weigh(md protoreflect.MessageDescriptor, data []byte, limit int) (weight, error) {
	w := weight{}
	err := w.add(md, 0, data, limit, maxNesting+8) // a field's options are nested further
	if err == nil && w.decoded+w.built > limit {
		err = errMemory
	}
	return w, err
}

// add adds the index-th message in its scope.
func (w *weight) add(md protoreflect.MessageDescriptor, index int, data []byte, limit, depth int) error {
	if depth == 0 {
		return errNesting
	}
	decoded := goBytes(md) + pointerBytes
	built := decoded
	c, declares := costs[md.FullName()]
	switch {
	case declares && index < 8:
		built = c.first
	case declares:
		built = c.more
	}
	var seen [16]int // messages, by the number of their field
	w.decoded += decoded
	w.built += built
	for len(data) > 0 && w.decoded+w.built <= limit {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errMalformed
		}
		length := protowire.ConsumeFieldValue(num, typ, data[n:])
		if length < 0 {
			return errMalformed
		}
		value := data[n : n+length]
		data = data[n+length:]
		fd := field(md, num)
		w.fields++
		decoded, built = 0, 0
		switch {
		case fd == nil || typ == protowire.StartGroupType:
			decoded = 2 * (n + length) // kept as unknown fields
		case typ == protowire.BytesType && fd.Message() != nil:
			value, _ = protowire.ConsumeBytes(value)
			if err := w.add(fd.Message(), seen[num%16], value, limit, depth-1); err != nil {
				return err
			}
			seen[num%16]++
			if fd.Name() == "extension" {
				w.built += extensionBytes
			}
		case typ == protowire.BytesType && (fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind):
			decoded = stringBytes + length
			switch fd.Name() {
			case "name", "type_name", "input_type", "output_type": // not kept, or part of the full name
			default:
				if built = length; fd.IsList() {
					built += listedBytes
				}
			}
		case typ == protowire.BytesType: // packed numbers of at least one byte each
			decoded = scalarBytes * length
			built = decoded
		default:
			decoded = max(scalarBytes, 2*(n+length)) // unknown fields if the type differs
		}
		if !declares {
			built = decoded
		}
		w.decoded += decoded
		w.built += built
	}
	return nil
}

// field returns the field or linked extension of md with a number, nil if there is none.
func field(md protoreflect.MessageDescriptor, num protowire.Number) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByNumber(num); fd != nil {
		return fd
	}
	if !md.ExtensionRanges().Has(num) {
		return nil
	}
	xt, err := protoregistry.GlobalTypes.FindExtensionByNumber(md.FullName(), num)
	if err != nil {
		return nil
	}
	return xt.TypeDescriptor()
}

var goSizes sync.Map // protoreflect.FullName → int

// goBytes returns the size of the Go struct of a linked message.
func goBytes(md protoreflect.MessageDescriptor) int {
	if known, ok := goSizes.Load(md.FullName()); ok {
		size, _ := known.(int)
		return size
	}
	size := 256
	if mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName()); err == nil {
		size = int(reflect.TypeOf(mt.Zero().Interface()).Elem().Size()) * 9 / 8 // size classes
	}
	goSizes.Store(md.FullName(), size)
	return size
}
