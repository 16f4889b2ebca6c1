package commands

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/message"
)

// A template can be read as a message of its type, for all types linked into the program.
func TestTemplatesAreMessages(t *testing.T) {
	t.Parallel()
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		md := mt.Descriptor()
		text, err := formatTemplate(t.Context(), md, message.JSON)
		if err == nil {
			err = protojson.Unmarshal([]byte(text), dynamicpb.NewMessage(md))
		}
		if err != nil {
			t.Errorf("%s: %.1000s: %v", md.FullName(), text, err)
		}
		text, err = formatTemplate(t.Context(), md, message.Text)
		if err == nil { // as in grpcurl, required fields are missing
			err = prototext.UnmarshalOptions{AllowPartial: true}.Unmarshal([]byte(text), dynamicpb.NewMessage(md))
		}
		if err != nil {
			t.Errorf("%s: %.1000s: %v", md.FullName(), text, err)
		}
		return true
	})
}
