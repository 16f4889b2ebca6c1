package textfile

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSkip(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                   "",
		"text":               "text",
		"\ufefftext\ufeff":   "text\ufeff",
		"\ufeff":             "",
		"\xef\xbbtext":       "\xef\xbbtext",
		"\xef":               "\xef",
		"\ufeff\ufefftext":   "\ufefftext",
		"\xff\xfet\x00":      "\xff\xfet\x00",
		"\ufeff\nline\r\n\n": "\nline\r\n\n",
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err != nil || string(got) != want {
			t.Errorf("Read(%q) = %q, %v, want %q", in, got, err, want)
		}
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := io.ReadAll(NewReader(r)); err != nil || string(got) != want {
				t.Errorf("NewReader(%q) reads %q, %v, want %q", in, got, err, want)
			}
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}

// A message of one byte doesn't wait for the next one.
func TestReaderDoesNotWait(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = w.Write([]byte("1")) }()
	p := make([]byte, 10)
	if n, err := NewReader(r).Read(p); n != 1 || err != nil || p[0] != '1' {
		t.Errorf("read %q, %v", p[:n], err)
	}
}
