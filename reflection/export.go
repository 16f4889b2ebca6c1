package reflection

import (
	"fmt"
	"io"
	"os"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/desc" //nolint:staticcheck // grpcurl's types
	"google.golang.org/protobuf/reflect/protoreflect"
)

// WriteProtoset writes the files that define symbols, and all that they import, to
// w as a google.protobuf.FileDescriptorSet: what [LoadProtosets] reads.
func WriteProtoset(w io.Writer, symbols ...protoreflect.Descriptor) error {
	source, names, err := newExported(symbols)
	if err != nil {
		return err
	}
	return grpcurl.WriteProtoset(w, source, names...)
}

// WriteProtos writes them below dir as .proto files, which it makes. A file
// that is there is replaced.
func WriteProtos(dir string, symbols ...protoreflect.Descriptor) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as grpcurl makes it
		return err
	}
	source, names, err := newExported(symbols)
	if err != nil {
		return err
	}
	return grpcurl.WriteProtoFiles(dir, source, names...)
}

// exported is what is written, as a source of grpcurl's.
type exported map[string]desc.Descriptor

func newExported(symbols []protoreflect.Descriptor) (exported, []string, error) {
	all := make(exported)
	var names []string
	for _, d := range symbols {
		wrapped, err := wrap(d)
		if err != nil {
			return nil, nil, fmt.Errorf("reflection: export %s: %w", d.FullName(), err)
		}
		all[string(d.FullName())] = wrapped
		names = append(names, string(d.FullName()))
	}
	return all, names, nil
}

func (e exported) FindSymbol(name string) (desc.Descriptor, error) {
	if d := e[name]; d != nil {
		return d, nil
	}
	return nil, ErrNotFound
}

func (e exported) ListServices() ([]string, error)                              { return nil, nil }
func (e exported) AllExtensionsForType(string) ([]*desc.FieldDescriptor, error) { return nil, nil }
