package tracing

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// maxLearned and maxLearnedFiles bound the files of a Learned: their bytes, and
	// their number.
	maxLearned      = 16 << 20
	maxLearnedFiles = 1000
)

// Learned is a source of the files in the responses of reflection that a trace has seen.
type Learned struct {
	mu    sync.Mutex
	files map[string]*descriptorpb.FileDescriptorProto // by path
	size  int
	set   *reflection.Set // of files; nil: not built yet
}

// isReflection reports whether a method is that of reflection, v1 or v1alpha.
func isReflection(method string) bool {
	return strings.HasPrefix(method, "/grpc.reflection.") && strings.HasSuffix(method, ".ServerReflection/ServerReflectionInfo")
}

// learn adds the files of e, if it is a response of reflection, and reports whether there
// are new ones.
func (l *Learned) learn(e *trace.Event) (isNew bool) {
	if l == nil || e.Type != trace.ServerMessage || !isReflection(e.Method) || e.Truncated() {
		return false
	}
	data, err := inflate(e)
	response := &rpb.ServerReflectionResponse{} // v1alpha has the same fields
	if err != nil || proto.Unmarshal(data, response) != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, raw := range response.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if proto.Unmarshal(raw, file) != nil {
			continue
		}
		old, size := l.files[file.GetName()], proto.Size(file)
		if old == nil && len(l.files) >= maxLearnedFiles || l.size-proto.Size(old)+size > maxLearned || proto.Equal(old, file) {
			continue
		}
		if l.files == nil {
			l.files = map[string]*descriptorpb.FileDescriptorProto{}
		}
		l.files[file.GetName()] = file // also in place of an older version
		l.size += size - proto.Size(old)
		l.set, isNew = nil, true
	}
	return isNew
}

// Files implements reflection.Finder.
func (l *Learned) Files(ctx context.Context) (*reflection.Set, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set == nil {
		set, err := reflection.FromFiles(ctx, &descriptorpb.FileDescriptorSet{File: slices.Collect(maps.Values(l.files))})
		if err != nil {
			return nil, err
		}
		l.set = set
	}
	return l.set, nil
}

// Services implements reflection.Finder.
func (l *Learned) Services(ctx context.Context) ([]string, error) {
	set, err := l.Files(ctx)
	if err != nil {
		return nil, err
	}
	return set.Services(), nil
}

// Find implements reflection.Finder.
func (l *Learned) Find(ctx context.Context, symbol protoreflect.FullName) (*reflection.Set, error) {
	set, err := l.Files(ctx)
	if err != nil {
		return nil, err
	}
	return reflection.FromSet(set).Find(ctx, symbol)
}
