package recording

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/trace"
)

// tshark reads a file, "-" is stdin. It returns the values of fields in each packet that filter
// selects.
func tshark(t *testing.T, file string, stdin io.Reader, filter string, fields ...string) (rows [][][]string) {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed: ", err)
	}
	args := []string{"-r", file, "-Y", filter, "-T", "fields", "-E", "aggregator=\x1f"}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // without a configuration
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	for line := range strings.Lines(string(out)) {
		var row [][]string
		for value := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\t") {
			row = append(row, strings.FieldsFunc(value, func(c rune) bool { return c == '\x1f' }))
		}
		rows = append(rows, row)
	}
	return rows
}

// tsharkCalls returns the calls that tshark shows.
func tsharkCalls(t *testing.T, file string, stdin io.Reader) (calls []*seenCall) {
	t.Helper()
	byStream := map[string]*seenCall{}
	for _, row := range tshark(t, file, stdin, "http2.streamid > 0", "tcp.stream", "http2.streamid", "tcp.srcport",
		"http2.header.name", "http2.header.value", "grpc.message_length", "http2.rst_stream.error") {
		key := row[0][0] + " " + row[1][0]
		c := byStream[key]
		if c == nil {
			c = &seenCall{}
			byStream[key] = c
			calls = append(calls, c)
		}
		from := trace.Client
		if row[2][0] == strconv.Itoa(serverPort) {
			from = trace.Server
		}
		var fields []hpack.HeaderField
		for i := range row[3] {
			fields = append(fields, hpack.HeaderField{Name: row[3][i], Value: row[4][i]})
		}
		c.header(fields)
		for _, text := range row[5] {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			c.messages[from] = append(c.messages[from], n)
		}
		for _, code := range row[6] {
			c.end += "reset " + code + " "
		}
	}
	return calls
}

// TestTshark checks that tshark shows the calls of a recording, without any configuration.
func TestTshark(t *testing.T) {
	t.Parallel()
	s := fullSample()
	b := convert(s.b)
	file := filepath.Join(t.TempDir(), "a.pcapng")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	calls := tsharkCalls(t, file, nil)
	compareCalls(t, calls, s.b)
	for _, c := range calls {
		for _, f := range c.fields {
			if f.Name == "authorization" && f.Value != trace.Redacted {
				t.Errorf("%s has %s: %s", c.path, f.Name, f.Value)
			}
		}
	}
	const malformed = "_ws.malformed || grpc.body_malformed || _ws.unreassembled || tcp.analysis.flags || " +
		"tcp.window_size < 65536 && !(tcp.flags.syn == 1) || _ws.expert.severity >= note && !tcp.connection.rst"
	if rows := tshark(t, file, nil, malformed, "frame.number", "_ws.expert.message"); len(rows) > 0 {
		t.Errorf("malformed: %q", rows)
	}
	if rows := tshark(t, file, nil, "tcp.flags.reset == 1", "frame.interface_name"); len(rows) != 1 || rows[0][0][0] != "session 2" {
		t.Errorf("resets of connections: %q", rows)
	}
	rows := tshark(t, file, nil, "http2.goaway.error", "http2.goaway.error", "http2.goaway.last_stream_id", "frame.interface_name")
	if len(rows) != 1 || rows[0][0][0] != "11" || rows[0][1][0] != "1" || rows[0][2][0] != "session 2" {
		t.Errorf("GOAWAY: %q", rows)
	}
	if rows := tshark(t, file, nil, "syslog.msg", "syslog.msg", "frame.comment"); len(rows) != 2 || rows[0][0][0] != "session 2, yamux stream 7: TLS" {
		t.Errorf("notes: %q", rows)
	}
	compareCalls(t, tsharkCalls(t, "-", bytes.NewReader(b)), s.b)
	// The sections of a file have different addresses.
	p := NewPcapng("")
	half := bytes.Index(s.b, []byte("Bidi"))
	half = bytes.LastIndexByte(s.b[:half], '\n') + 1
	b = p.Append(p.Start(nil), s.b[:half])
	p.restart()
	b = p.Append(b, s.b[half:])
	compareCalls(t, tsharkCalls(t, "-", bytes.NewReader(b)), s.b)
}
