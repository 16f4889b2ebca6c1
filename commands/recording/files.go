package recording

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	// maxFiles and maxFilesSize bound a Files: the number of its files, and their bytes.
	maxFiles     = 1000
	maxFilesSize = 16 << 20
)

// Files collects descriptor files, up to 1000 of them with 16 MiB in all. The zero value is
// empty.
type Files struct {
	byPath map[string]*descriptorpb.FileDescriptorProto
	size   int
}

// Add adds a file, also in place of another version, and reports whether it is new.
func (fs *Files) Add(file *descriptorpb.FileDescriptorProto) bool {
	old, size := fs.byPath[file.GetName()], proto.Size(file)
	if old == nil && len(fs.byPath) >= maxFiles || fs.size-proto.Size(old)+size > maxFilesSize || proto.Equal(old, file) {
		return false
	}
	if fs.byPath == nil {
		fs.byPath = map[string]*descriptorpb.FileDescriptorProto{}
	}
	fs.byPath[file.GetName()] = file
	fs.size += size - proto.Size(old)
	return true
}

// AddSet adds the files of an encoded google.protobuf.FileDescriptorSet, and reports
// whether any is new. A malformed set has none.
func (fs *Files) AddSet(data []byte) (isNew bool) {
	set := &descriptorpb.FileDescriptorSet{}
	if proto.Unmarshal(data, set) != nil {
		return false
	}
	for _, file := range set.GetFile() {
		isNew = fs.Add(file) || isNew
	}
	return isNew
}

// Set returns the files, in the order of their paths.
func (fs *Files) Set() *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	for _, path := range slices.Sorted(maps.Keys(fs.byPath)) {
		set.File = append(set.File, fs.byPath[path])
	}
	return set
}
