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
	"github.com/jhump/protoreflect/desc/protoparse" //nolint:staticcheck // grpcurl's compiler; its successor can't read edition 2024 yet
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// LoadProtosets reads files that contain a google.protobuf.FileDescriptorSet, as written
// by protoc --descriptor_set_out --include_imports. The Set has all services that they
// define. Missing files are an error, except those of protobuf and gRPC
// (google/protobuf/, google/rpc/), and so are two with one path. Declarations that are
// invalid or unsupported are left out; errors about their names have the reason.
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
	return b.buildStrict("protoset")
}

// LoadProtos compiles .proto files: proto2, proto3, editions 2023 and 2024. It looks for
// the files and their imports in importPaths. Default: the current directory, then the
// directories of the files. The files of protobuf and gRPC (google/protobuf/,
// google/rpc/) are built in. The Set has all services that the files and their imports
// define. As with [LoadProtosets], unsupported declarations are left out.
//
// The text of a syntax error begins with its position, file:line:column. The error for
// a missing file is a [*MissingError].
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
			return nil, &MissingError{Name: name, importPaths: importPaths}
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
		if missing := missingError(err, importPaths); missing != nil {
			return nil, missing
		}
		if _, ok := errors.AsType[protoparse.ErrorWithPos](err); ok {
			return nil, err
		}
		return nil, fmt.Errorf("reflection: compile: %w", err)
	}
	b := newBuilder()
	b.addParsed(files)
	return b.buildStrict("compile")
}

// MissingError is the error for a .proto file that doesn't exist in the import paths.
type MissingError struct {
	Name        string   // as given in the paths or in the import
	position    string   // of the import, file:line:column; empty if it isn't imported
	importPaths []string // the directories searched
}

func (e *MissingError) Error() string {
	file := fmt.Sprintf("%q", e.Name)
	if e.position != "" {
		file = e.position + ": import " + file
	}
	return fmt.Sprintf("%s not found in the import paths (%s)", file, strings.Join(e.importPaths, ", "))
}

// missingError converts an error of the parser to a MissingError, nil if it is something
// else. The parser searches importPaths in order, and its error has the last path.
func missingError(err error, importPaths []string) error {
	pe, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(pe, fs.ErrNotExist) {
		return nil
	}
	e := &MissingError{Name: pe.Path, importPaths: importPaths}
	if name, err := filepath.Rel(importPaths[len(importPaths)-1], pe.Path); err == nil {
		e.Name = filepath.ToSlash(name)
	}
	if at, ok := errors.AsType[protoparse.ErrorWithPos](err); ok {
		e.position = at.GetPosition().String()
	}
	return e
}

// lookupBuiltin returns a built-in file. The parser calls it for files that it doesn't
// find in the import paths.
func lookupBuiltin(path string) (*descriptorpb.FileDescriptorProto, error) {
	if fdp := builtinProto(path); fdp != nil {
		return fdp, nil
	}
	return nil, protoregistry.NotFound
}

// addParsed adds files and their imports.
func (b *builder) addParsed(files []*desc.FileDescriptor) {
	for _, fd := range files {
		if b.files[fd.GetName()] == nil {
			b.add(fd.AsFileDescriptorProto())
			b.addParsed(fd.GetDependencies())
		}
	}
}

// buildStrict builds a Set of all files and returns the first problem as an error, unless
// a file only lacks some declarations. op names the operation in that error.
func (b *builder) buildStrict(op string) (*Set, error) {
	set, err := b.build(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	if b.strict != nil {
		return nil, fmt.Errorf("reflection: %s: %w", op, b.strict)
	}
	return set, nil
}
