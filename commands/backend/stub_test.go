package backend

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/commands/usage"
)

// stubOf returns the backend with the file of --stub, and the log.
func stubOf(t *testing.T, text string, o *Options) (*grpcBackend, string, error) {
	t.Helper()
	o.Stub = filepath.Join(t.TempDir(), "stub")
	if err := os.WriteFile(o.Stub, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b, err := newStub(o, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		return nil, log.String(), err
	}
	stub, ok := b.(*grpcBackend)
	if !ok {
		t.Fatalf("the backend is a %T", b)
	}
	return stub, log.String(), nil
}

// protoset writes the descriptors of the demo Hub to a file.
func protoset(t *testing.T) (path string, data []byte) {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(demo.File_commands_demo_hub_proto)
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "hub.protoset")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

const (
	header = `{"event":"recording","version":1,"time":"2026-01-02T03:04:05Z"}` + "\n"
	begin  = `{"event":"rpc","time":"2026-01-02T03:04:05Z","call":1,"seq":1,"type":"client_header","method":"/wstun.demo.v1.Hub/WatchKeys"}` + "\n"
	watch  = `{"event":"rpc","time":"2026-01-02T03:04:05Z","call":1,"seq":2,"type":"client_message","method":"/wstun.demo.v1.Hub/WatchKeys","size":0,"data":""}` + "\n"
)

// A recording needs no --proto.
func TestStubRecording(t *testing.T) {
	t.Parallel()
	path, files := protoset(t)
	schema := string(recording.NewSchema(files, time.Time{}).Append(nil))
	other := strings.ReplaceAll(begin, `"call":1`, `"call":2`)
	for name, want := range map[string]struct {
		text      string
		protosets []string
		finders   int
	}{
		"schema":   {"\ufeff\n" + header + schema + begin + watch + other, nil, 1},
		"protoset": {header + begin + watch + other, []string{path}, 2},
		"both":     {header + schema + begin + watch + other, []string{path}, 2},
	} {
		b, log, err := stubOf(t, want.text, &Options{Descriptors: Descriptors{Protosets: want.protosets}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		services, err := b.finders[0].Services(t.Context())
		if !slices.Equal(services, []string{"wstun.demo.v1.Hub"}) || len(b.finders) != want.finders {
			t.Errorf("%s: services %q, %v; %d finders", name, services, err, len(b.finders))
		}
		status, err := b.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "wstun.demo.v1.Hub"})
		if status.GetStatus() != serving {
			t.Errorf("%s: health %v, %v", name, status, err)
		}
		if !strings.Contains(log, `level=WARN msg="recorded calls left out" calls=1 reasons="1: it doesn't have one request"`) {
			t.Errorf("%s: log %q", name, log)
		}
	}
}

func TestStubErrors(t *testing.T) {
	t.Parallel()
	path, _ := protoset(t)
	for text, want := range map[string]struct {
		err, advice string
		o           Options
	}{
		header:                 {err: "--stub STUB: the recording has no calls"},
		header + begin + watch: {err: `--stub STUB: no descriptors for the recorded method "/wstun.demo.v1.Hub/WatchKeys"`, advice: "name their source with --proto, or a compiled set with --protoset"},
		strings.Replace(header, ":1,", ":99,", 1): {err: "--stub STUB: a recording of version 99: this wstun reads version 1; a newer one is needed"},
		"{methods: {}}":                          {err: "--stub STUB isn't a recording, so it needs the descriptors of its methods", advice: "name the source with --proto, or a compiled set with --protoset"},
		"{methods: {wstun.demo.v1.Hub/Nap: {}}}": {err: `STUB:1: service wstun.demo.v1.Hub has no method "Nap"`, advice: "fix the file of --stub", o: Options{Descriptors: Descriptors{Protosets: []string{path}}}},
		"{\"methods\": {}}":                      {err: "--no-stub-delays is for recordings", o: Options{Descriptors: Descriptors{Protosets: []string{path}}, Given: usage.Given{"no-stub-delays": true}}},
	} {
		o := want.o
		_, _, err := stubOf(t, text, &o)
		ue, ok := errors.AsType[*usage.Error](err)
		if !ok || strings.ReplaceAll(err.Error(), o.Stub, "STUB") != want.err || ue.Advice != want.advice {
			t.Errorf("%s: error %v, want %+v", text, err, want)
		}
	}
}

// A YAML file in flow style isn't a recording.
func TestStubFlowStyle(t *testing.T) {
	t.Parallel()
	path, _ := protoset(t)
	b, _, err := stubOf(t, `{"methods": {"wstun.demo.v1.Hub/Sum": {"reply": {"sum": 1}}}}`, &Options{Descriptors: Descriptors{Protosets: []string{path}}})
	if err != nil || len(b.finders) != 1 {
		t.Errorf("newStub = %v, %v", b, err)
	}
}
