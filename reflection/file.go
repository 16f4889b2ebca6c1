package reflection

import (
	"crypto/sha256"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Numbers of the fields of FileDescriptorProto.
const nameField, importField, optionImportField = 1, 3, 15

// encodedFile is a file and its encoding. It is immutable.
type encodedFile struct {
	path     string
	raw      []byte
	imports  []string          // those for options last
	required int               // the number of imports that aren't for options
	digest   [sha256.Size]byte // of the contents except path, imports and comments
	built    int               // an estimate of the memory for its descriptors
}

// makeFile returns the file with the encoding raw, which decodes to fdp. It drops the
// default JSON names of fdp.
func makeFile(raw []byte, fdp *descriptorpb.FileDescriptorProto) (*encodedFile, error) {
	f := &encodedFile{
		path: fdp.GetName(), raw: raw,
		imports: slices.Concat(fdp.GetDependency(), fdp.GetOptionDependency()), required: len(fdp.GetDependency()),
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(normalize(fdp))
	f.digest = sha256.Sum256(data)
	return f, err
}

// encodeFile returns the file with the contents of fdp.
func encodeFile(fdp *descriptorpb.FileDescriptorProto) (*encodedFile, error) {
	raw, err := proto.Marshal(fdp)
	if err != nil {
		return nil, err
	}
	return makeFile(raw, fdp)
}

// decode returns the contents of the file.
func (f *encodedFile) decode() *descriptorpb.FileDescriptorProto {
	fdp := new(descriptorpb.FileDescriptorProto)
	_ = proto.Unmarshal(f.raw, fdp) // it succeeded before
	return fdp
}

// pathOf returns the path of an encoded file without decoding it, "" if it is malformed.
func pathOf(raw []byte) (path string) {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeField(raw)
		if n < 0 {
			return ""
		}
		if num == nameField && typ == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(raw)
			path, _ = protowire.ConsumeString(raw[tag:])
		}
		raw = raw[n:]
	}
	return path
}

// servedFile is a file as a Merged serves it. It doesn't hold another encoding.
type servedFile struct {
	*encodedFile
	path    string
	renamed map[string]string // path of an import → served path, if different
}

// equals reports whether two files differ at most in their paths and comments, and in
// values that some compilers write and others leave out.
func (f servedFile) equals(g servedFile) bool {
	if f.digest != g.digest || len(f.imports) != len(g.imports) || f.required != g.required {
		return false
	}
	for i := range f.imports {
		if f.served(f.imports[i]) != g.served(g.imports[i]) {
			return false
		}
	}
	return true
}

// served returns the served path of an import.
func (f servedFile) served(path string) string {
	if to := f.renamed[path]; to != "" {
		return to
	}
	return path
}

// encoding returns the file with the served paths of itself and its imports.
func (f servedFile) encoding() []byte {
	isRenamed := func(path string) bool { return f.renamed[path] != "" }
	if f.path == f.encodedFile.path && (len(f.renamed) == 0 || !slices.ContainsFunc(f.imports, isRenamed)) {
		return f.raw
	}
	out := protowire.AppendTag(make([]byte, 0, len(f.raw)), nameField, protowire.BytesType)
	out = protowire.AppendString(out, f.path)
	for data := f.raw; len(data) > 0; {
		num, typ, n := protowire.ConsumeField(data)
		field := data[:n]
		data = data[n:]
		switch {
		case typ == protowire.BytesType && num == nameField:
		case typ == protowire.BytesType && (num == importField || num == optionImportField):
			_, _, n := protowire.ConsumeTag(field)
			path, _ := protowire.ConsumeString(field[n:])
			out = protowire.AppendString(append(out, field[:n]...), f.served(path))
		default:
			out = append(out, field...)
		}
	}
	return out
}
