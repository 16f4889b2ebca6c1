package reflection

import (
	"fmt"
	"io"
	"os"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/desc" //nolint:staticcheck // grpcurl's types
	"google.golang.org/protobuf/reflect/protoreflect"
)

// WriteProtoset writes the files that define symbols, and their imports, to w as a
// google.protobuf.FileDescriptorSet, which [LoadProtosets] can read.
func WriteProtoset(w io.Writer, symbols ...protoreflect.Descriptor) error {
	source, names, err := newExportSource(symbols)
	if err != nil {
		return err
	}
	return grpcurl.WriteProtoset(w, source, names...)
}

// WriteProtos writes the files that define symbols, and their imports, as .proto files
// below dir, which it creates if needed. It replaces existing files.
func WriteProtos(dir string, symbols ...protoreflect.Descriptor) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as grpcurl makes it
		return err
	}
	source, names, err := newExportSource(symbols)
	if err != nil {
		return err
	}
	return grpcurl.WriteProtoFiles(dir, source, names...)
}

// exportSource is a grpcurl.DescriptorSource of the exported symbols.
type exportSource map[string]desc.Descriptor

func newExportSource(symbols []protoreflect.Descriptor) (exportSource, []string, error) {
	all := make(exportSource)
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

func (e exportSource) FindSymbol(name string) (desc.Descriptor, error) {
	if d := e[name]; d != nil {
		return d, nil
	}
	return nil, ErrNotFound
}

func (e exportSource) ListServices() ([]string, error) { return nil, nil }

func (e exportSource) AllExtensionsForType(string) ([]*desc.FieldDescriptor, error) { return nil, nil }
