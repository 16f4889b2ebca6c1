package recording

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Files of hostile servers are bounded.
func TestFilesBounds(t *testing.T) {
	t.Parallel()
	fs := &Files{}
	for i := range 2 * maxFiles {
		fs.Add(&descriptorpb.FileDescriptorProto{Name: new(fmt.Sprint(i))})
	}
	if len(fs.byPath) != maxFiles {
		t.Errorf("%d files, want %d", len(fs.byPath), maxFiles)
	}
	large := &descriptorpb.FileDescriptorProto{}
	for i := range 100 {
		large.Package = new(strings.Repeat("x", 1<<20) + fmt.Sprint(i))
		large.Name = new(fmt.Sprint(i))
		fs.Add(proto.CloneOf(large))
	}
	if fs.size > maxFilesSize || fs.size < maxFilesSize/2 {
		t.Errorf("%d bytes, want at most %d", fs.size, maxFilesSize)
	}
	sum := 0
	for _, file := range fs.Set().GetFile() {
		sum += proto.Size(file)
	}
	if sum != fs.size {
		t.Errorf("size is %d, the files have %d", fs.size, sum)
	}
}
