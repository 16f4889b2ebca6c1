package tracing

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// Secret fields and metadata are hidden.
func TestRedact(t *testing.T) {
	t.Parallel()
	ts := newTester(t, &Options{Messages: true, Redact: []string{"nam*"}}, false)
	ts.event(0, messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "z9"}))
	ts.expect(`12:00:00.000  s1 #1      →  Hub/CreateKey  {"name":"[redacted]"}`)
	ts.event(0, trace.Event{Type: trace.ClientMessage, Method: "/a.B/C", Call: 2, Data: []byte("\x0a\x01z"), Size: 3})
	ts.expect(`12:00:00.000  s1 #2      →  B/C               3 B, not shown, because --redact needs a schema`)
}

// Secrets in the details of a status are hidden, also those in types that aren't known.
func TestSecretDetails(t *testing.T) {
	t.Parallel()
	known, _ := anypb.New(&demo.Key{Name: "k", Secret: "hidden1"})
	unknown := &anypb.Any{TypeUrl: "type.googleapis.com/no.Such", Value: []byte("\x0a\x07hidden2")}
	data, _ := proto.Marshal(&spb.Status{Code: 5, Details: []*anypb.Any{known, unknown}})
	for _, isJSON := range []bool{true, false} {
		ts := newTester(t, &Options{Redact: []string{"pw"}}, isJSON)
		ts.event(0, trace.Event{Type: trace.ClientHeader})
		ts.event(0, trace.Event{
			Type: trace.ServerTrailer, Code: codes.NotFound,
			Metadata: []hpack.HeaderField{{Name: recording.DetailsKey, Value: base64.RawStdEncoding.EncodeToString(data)}},
		})
		got := ts.out.String()
		for _, secret := range []string{"hidden1", "hidden2", base64.StdEncoding.EncodeToString(unknown.GetValue()), base64.RawStdEncoding.EncodeToString(data)} {
			if strings.Contains(got, secret) {
				t.Errorf("JSON %v: %q is in %s", isJSON, secret, got)
			}
		}
		if !strings.Contains(got, `"name":"k","secret":"[redacted]"`) {
			t.Errorf("JSON %v: no details in %s", isJSON, got)
		}
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	md := (&descriptorpb.FileDescriptorProto{}).ProtoReflect().Descriptor()
	whole, _ := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: new("name"), MessageType: []*descriptorpb.DescriptorProto{{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{{Name: new("field"), Number: new(int32(300))}}}},
		Syntax: new("proto3"),
	})
	for n := range len(whole) {
		got := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(repair(bytes.Clone(whole[:n]), md, maxRepair), got); err != nil {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		if n > 4 && !strings.HasPrefix("name", got.GetName()[:min(len(got.GetName()), n-2)]) {
			t.Errorf("the first %d bytes: %v", n, got)
		}
	}
	if got := repair([]byte{0x0a, 0x80, 0x80}, md, maxRepair); len(got) != 0 {
		t.Errorf("half a length: %q", got)
	}
	deep := bytes.Repeat([]byte{0x1a, 0xff, 0xff, 0x03}, 1000) // nested_type
	repair(append([]byte{0x22, 0xff, 0xff, 0x03}, deep...), md, maxRepair)
}
