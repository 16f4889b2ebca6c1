package reflection

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Describe and the export functions support edition 2024.
func TestDescribeEdition2024(t *testing.T) {
	t.Parallel()
	set := compile(t, map[string]string{"new.proto": `
		edition = "2024";
		package fresh;
		service Things { rpc Get(Thing) returns (Thing); }
		message Thing { string name = 1 [features.field_presence = IMPLICIT]; Thing inner = 2 [features.message_encoding = DELIMITED]; }
	`})
	for name, want := range map[protoreflect.FullName]string{
		"fresh.Things":      "a service",
		"fresh.Things.Get":  "a method",
		"fresh.Thing":       "a message",
		"fresh.Thing.inner": "a field",
	} {
		d, err := set.Files().FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Describe(t.Context(), d)
		if err != nil || got.Kind != want || got.Text == "" || got.Name != string(name) {
			t.Errorf("Describe(%s) = %+v, %v, want %s", name, got, err, want)
		}
		var out bytes.Buffer
		if err := WriteProtoset(&out, d); err != nil || out.Len() == 0 {
			t.Errorf("WriteProtoset(%s) = %v, %d bytes", name, err, out.Len())
		}
		dir := t.TempDir()
		if err := WriteProtos(dir, d); err != nil {
			t.Errorf("WriteProtos(%s) = %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "new.proto")); err != nil {
			t.Error(err)
		}
	}
	d, err := set.Files().FindDescriptorByName("fresh.Thing")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := TextTemplate(t.Context(), d.(protoreflect.MessageDescriptor)); err != nil || !strings.Contains(got, "inner: <") {
		t.Errorf("TextTemplate = %s, %v", got, err)
	}
}

// The race detector checks this: grpcurl's own GetDescriptorText has a data race.
func TestDescribeConcurrently(t *testing.T) {
	t.Parallel()
	d, err := compile(t, greeter()).Files().FindDescriptorByName("greet.Greeter")
	if err != nil {
		t.Fatal(err)
	}
	var described sync.WaitGroup
	for range 4 {
		described.Go(func() {
			if _, err := Describe(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	described.Wait()
}

// Describe returns an error, and doesn't panic, for a symbol that refers to a missing
// file.
func TestDescribeIncomplete(t *testing.T) {
	t.Parallel()
	set := compile(t, greeter())
	b := newBuilder()
	for _, fdp := range protosOf(set) {
		if fdp.GetName() != "common.proto" && fdp.GetName() != "google/protobuf/timestamp.proto" {
			b.add(fdp)
		}
	}
	part, err := b.build(testContext(t), nil)
	if err != nil || len(problemsOf(part)) == 0 {
		t.Fatalf("%v, %q", err, problemsOf(part))
	}
	for _, name := range []protoreflect.FullName{"greet.Greeter", "greet.Greeter.Greet"} {
		d, err := part.Files().FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Describe(t.Context(), d); err == nil || !strings.Contains(err.Error(), "common.Name") {
			t.Errorf("Describe(%s) = %+v, %v, want an error about common.Name", name, got, err)
		}
	}
}

// Describe refuses a symbol whose file, together with its imports, has so many declarations
// that converting them would take long. The symbol itself may be small.
func TestDescribeIsBounded(t *testing.T) {
	t.Parallel()
	const most = 100_000
	for _, tc := range []struct {
		fields int // of an imported file
		want   string
	}{
		{most / 2, ""},
		{most, "more than 100000 declarations"},
	} {
		small := file("small.proto", "large.proto")
		set := describeFiles(t, newFetch(nil, "v1", nil), encode(t, withFields("large.proto", tc.fields)), encode(t, small))
		checkSet(t, set, nil, nil)
		d, err := set.Files().FindDescriptorByName("small.S")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Describe(t.Context(), d); tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("with %d fields: %v, want %q", tc.fields, err, tc.want)
		}
	}
}
