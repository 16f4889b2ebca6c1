package tracing

import (
	"fmt"
	"strings"
	"testing"

	rpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

const reflectionMethod = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

// responseWith returns the event of a response of reflection with files.
func responseWith(files ...*descriptorpb.FileDescriptorProto) *trace.Event {
	answer := &rpb.FileDescriptorResponse{}
	for _, file := range files {
		raw, _ := proto.Marshal(file)
		answer.FileDescriptorProto = append(answer.FileDescriptorProto, raw)
	}
	data, _ := proto.Marshal(&rpb.ServerReflectionResponse{MessageResponse: &rpb.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: answer}})
	return &trace.Event{Type: trace.ServerMessage, Method: reflectionMethod, Data: data, Size: int64(len(data))}
}

func hubFile() *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(demo.File_commands_demo_hub_proto)
}

func TestLearned(t *testing.T) {
	t.Parallel()
	l := &Learned{}
	if _, err := l.Find(t.Context(), "wstun.demo.v1.Hub"); err == nil {
		t.Error("Find finds a service before any response")
	}
	for name, e := range map[string]*trace.Event{
		"a request":           {Type: trace.ClientMessage, Method: reflectionMethod, Data: responseWith(hubFile()).Data},
		"another method":      {Type: trace.ServerMessage, Method: "/a.B/C", Data: responseWith(hubFile()).Data},
		"not protobuf":        {Type: trace.ServerMessage, Method: reflectionMethod, Data: []byte("\xff"), Size: 1},
		"a part of a message": {Type: trace.ServerMessage, Method: reflectionMethod, Data: responseWith(hubFile()).Data, Size: 1 << 20},
		"an error":            {Type: trace.ServerMessage, Method: reflectionMethod, Data: []byte("\x3a\x02\x08\x05"), Size: 4},
	} {
		if l.Learn(e) {
			t.Errorf("%s: new files", name)
		}
	}
	e := responseWith(hubFile())
	e.Method = strings.Replace(e.Method, "v1", "v1alpha", 1)
	if !l.Learn(e) || l.Learn(e) {
		t.Error("the first response has no new files, or the second one has")
	}
	if set, err := l.Find(t.Context(), "wstun.demo.v1.Hub.CreateKey"); err != nil || set == nil {
		t.Errorf("Find = %v, %v", set, err)
	}
	if services, err := l.Services(t.Context()); err != nil || fmt.Sprint(services) != "[wstun.demo.v1.Hub]" {
		t.Errorf("Services() = %v, %v", services, err)
	}
	if (*Learned)(nil).Learn(e) {
		t.Error("a nil Learned has learned")
	}
}

// A file that the server changes, such as after an update, replaces the old one.
func TestLearnedUpdate(t *testing.T) {
	t.Parallel()
	l := &Learned{}
	l.Learn(responseWith(hubFile()))
	file := hubFile()
	file.MessageType[0].Field = append(file.MessageType[0].Field, &descriptorpb.FieldDescriptorProto{
		Name: new("added"), Number: proto.Int32(77), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	})
	if !l.Learn(responseWith(file)) {
		t.Error("the new file isn't new")
	}
	catalog := reflection.NewCatalog(l)
	symbol, err := catalog.Find(t.Context(), demo.File_commands_demo_hub_proto.Messages().Get(0).FullName().Append("added"))
	if err != nil || symbol == nil {
		t.Errorf("the new field isn't found: %v", err)
	}
}

// Files of hostile servers don't hide others.
func TestLearnedMalformed(t *testing.T) {
	t.Parallel()
	l := &Learned{}
	l.Learn(responseWith(hubFile(), &descriptorpb.FileDescriptorProto{Name: new("bad.proto"), Dependency: []string{"missing.proto", "bad.proto"}}))
	if _, err := l.Find(t.Context(), "wstun.demo.v1.Hub"); err != nil {
		t.Error(err)
	}
}
