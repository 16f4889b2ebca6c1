package tracing

import (
	"context"
	"strings"
	"sync"

	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

// Learned is a source of the files in the responses of reflection that a trace has seen.
type Learned struct {
	mu    sync.Mutex
	files recording.Files
	set   *reflection.Set // of files; nil: not built yet
}

// isReflection reports whether a method is that of reflection, v1 or v1alpha.
func isReflection(method string) bool {
	return strings.HasPrefix(method, "/grpc.reflection.") && strings.HasSuffix(method, ".ServerReflection/ServerReflectionInfo")
}

// Learn adds the files of e, if it is a response of reflection, and reports whether there
// are new ones.
func (l *Learned) Learn(e *trace.Event) (isNew bool) {
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
		isNew = l.files.Add(file) || isNew // also in place of an older version
	}
	if isNew {
		l.set = nil
	}
	return isNew
}

// AddSet adds the files of an encoded google.protobuf.FileDescriptorSet, and reports
// whether there are new ones.
func (l *Learned) AddSet(data []byte) (isNew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if isNew = l.files.AddSet(data); isNew {
		l.set = nil
	}
	return isNew
}

// Files implements reflection.Finder.
func (l *Learned) Files(ctx context.Context) (*reflection.Set, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set == nil {
		set, err := reflection.FromFiles(ctx, l.files.Set())
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
