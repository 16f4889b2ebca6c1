package commands

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/message"
)

// A template can be read as a message of its type, for all types linked into the program.
func TestTemplatesAreMessages(t *testing.T) {
	t.Parallel()
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		md := mt.Descriptor()
		text, err := template(t, md, message.JSON)
		if err == nil && text != "" {
			err = protojson.Unmarshal([]byte(text), dynamicpb.NewMessage(md))
		}
		if err != nil {
			t.Errorf("%s: %.1000s: %v", md.FullName(), text, err)
		}
		text, err = template(t, md, message.Text)
		if err == nil && text != "" { // as in grpcurl, required fields are missing
			err = prototext.UnmarshalOptions{AllowPartial: true}.Unmarshal([]byte(text), dynamicpb.NewMessage(md))
		}
		if err != nil {
			t.Errorf("%s: %.1000s: %v", md.FullName(), text, err)
		}
		return true
	})
}

// template returns the template in the description of md, "" for the entry of a map and the
// type of a group, which have none.
func template(t *testing.T, md protoreflect.MessageDescriptor, encoding message.Encoding) (string, error) {
	t.Helper()
	text, err := call.Describe(t.Context(), md, encoding)
	_, text, _ = strings.Cut(text, "\nMessage template:\n")
	return text, err
}
