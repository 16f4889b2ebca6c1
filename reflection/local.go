package reflection

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jhump/protoreflect/desc"            //nolint:staticcheck // the types of protoparse
	"github.com/jhump/protoreflect/desc/protoparse" //nolint:staticcheck // grpcurl's compiler; the one that replaces it can't read edition 2024 yet
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// LoadProtosets reads files that hold a google.protobuf.FileDescriptorSet, as
// protoc --descriptor_set_out --include_imports writes them. The Set's services are
// all that they define. Files that are incomplete or disagree with one another are an
// error; only the files of protobuf and gRPC (google/protobuf/, google/rpc/) may be
// missing.
func LoadProtosets(paths []string) (*Set, error) {
	b := newBuilder()
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reflection: read protoset: %w", err)
		}
		files := new(descriptorpb.FileDescriptorSet)
		if err := proto.Unmarshal(data, files); err != nil {
			return nil, fmt.Errorf("reflection: %q is not a protoset: %w", path, err)
		}
		for _, fdp := range files.GetFile() {
			b.add(fdp)
		}
	}
	return b.whole("protoset")
}

// LoadProtos compiles .proto files: proto2, proto3, editions 2023 and 2024. Paths
// may be relative to one of importPaths, in which imports are looked for too; they
// default to the current directory, then those of the files. The files of protobuf
// and gRPC (google/protobuf/, google/rpc/) are built in. The Set's services are all
// that the files and their imports define.
//
// The text of a syntax error begins with its position, file:line:column. The error
// of a file that can't be found is a [*MissingError].
func LoadProtos(paths, importPaths []string) (*Set, error) {
	if len(importPaths) == 0 {
		importPaths = []string{"."}
		for _, path := range paths {
			if dir := filepath.Dir(path); !slices.Contains(importPaths, dir) {
				importPaths = append(importPaths, dir)
			}
		}
	}
	names, err := protoparse.ResolveFilenames(importPaths, paths...)
	if err != nil {
		if name, ok := strings.CutSuffix(err.Error(), " does not reside in any import path"); ok {
			return nil, &MissingError{Name: name, ImportPaths: importPaths}
		}
		return nil, fmt.Errorf("reflection: %w", err)
	}
	parser := protoparse.Parser{
		ImportPaths:               importPaths,
		LookupImportProto:         lookupBuiltin,
		IncludeSourceCodeInfo:     true,
		AllowExperimentalEditions: true,
	}
	files, err := parser.ParseFiles(names...)
	if err != nil {
		if missing := missing(err, importPaths); missing != nil {
			return nil, missing
		}
		if _, ok := errors.AsType[protoparse.ErrorWithPos](err); ok {
			return nil, err
		}
		return nil, fmt.Errorf("reflection: compile: %w", err)
	}
	b := newBuilder()
	b.addParsed(files)
	return b.whole("compile")
}

// MissingError is the error that a .proto file can't be found.
type MissingError struct {
	Name        string   // as in the paths or in the import
	Position    string   // of the import, file:line:column; empty without one
	ImportPaths []string // the folders searched
}

func (e *MissingError) Error() string {
	what := fmt.Sprintf("%q", e.Name)
	if e.Position != "" {
		what = e.Position + ": import " + what
	}
	return fmt.Sprintf("%s is below none of the import paths (%s)", what, strings.Join(e.ImportPaths, ", "))
}

// missing returns the MissingError that stands for err, an error of the parser, or nil.
// The parser searches importPaths one by one and names the last place.
func missing(err error, importPaths []string) error {
	pe, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(pe, fs.ErrNotExist) {
		return nil
	}
	e := &MissingError{Name: pe.Path, ImportPaths: importPaths}
	if name, err := filepath.Rel(importPaths[len(importPaths)-1], pe.Path); err == nil {
		e.Name = filepath.ToSlash(name)
	}
	if at, ok := errors.AsType[protoparse.ErrorWithPos](err); ok {
		e.Position = at.GetPosition().String()
	}
	return e
}

// lookupBuiltin returns a built-in file; the parser calls it for files that are below
// none of the import paths.
func lookupBuiltin(path string) (*descriptorpb.FileDescriptorProto, error) {
	if fdp := builtinProto(path); fdp != nil {
		return fdp, nil
	}
	return nil, protoregistry.NotFound
}

// addParsed adds files and what they import.
func (b *builder) addParsed(files []*desc.FileDescriptor) {
	for _, fd := range files {
		if b.files[fd.GetName()] == nil {
			b.add(fd.AsFileDescriptorProto())
			b.addParsed(fd.GetDependencies())
		}
	}
}

// whole builds a Set of all files. A problem is an error; what names the operation.
func (b *builder) whole(what string) (*Set, error) {
	set, err := b.build(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	if len(set.problems) > 0 {
		return nil, fmt.Errorf("reflection: %s: %s", what, set.problems[0])
	}
	return set, nil
}
