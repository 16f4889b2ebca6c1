package call

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
)

// Describe describes a symbol as proto source. For a message it adds a template, which can be
// sent as it is, in the encoding template; "" adds none. The text ends with a line break.
func Describe(ctx context.Context, symbol protoreflect.Descriptor, template message.Encoding) (string, error) {
	d, err := reflection.Describe(ctx, symbol)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s is %s:\n%s\n", d.Name, d.Kind, d.Text)
	md, ok := symbol.(protoreflect.MessageDescriptor)
	if !ok || template == "" || d.Kind != "a message" {
		return text, nil
	}
	filled, err := formatTemplate(ctx, md, template)
	if err != nil {
		return "", err
	}
	return text + "\nMessage template:\n" + filled + "\n", nil
}

func formatTemplate(ctx context.Context, md protoreflect.MessageDescriptor, encoding message.Encoding) (string, error) {
	if encoding == message.Text {
		return reflection.TextTemplate(ctx, md)
	}
	m, err := reflection.Template(ctx, md)
	if err != nil {
		return "", err
	}
	return message.Format(ctx, m, nil, &message.Options{EmitDefaults: true})
}
