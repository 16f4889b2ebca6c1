//go:build unix

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/recording"
)

// tally counts calls, by "call METHOD", messages, by "message SIZE", and ends, by "status CODE"
// and "reset".
type tally map[string]int

// addLine adds a line of a trace or a recording.
func (n tally) addLine(line []byte) {
	var l recording.Line
	if json.Unmarshal(line, &l) != nil || l.Event != recording.RPCLine {
		return
	}
	switch {
	case l.Type == "client_header":
		n["call "+l.Method]++
	case l.Size != nil:
		n["messages"]++
	case l.Status != nil:
		n["status "+l.Status.Name]++
	case l.Type == "cancel":
		n["reset"]++
	}
}

// tshark returns the values of fields in those packets of a capture that a filter lets
// through, for each packet and field. The capture is read from stdin if file is "-".
func tshark(t *testing.T, file string, stdin io.Reader, filter string, fields ...string) (packets [][][]string) {
	t.Helper()
	args := []string{"-r", file, "-Y", filter, "-T", "fields", "-E", "aggregator=\x1f"}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	cmd := exec.CommandContext(t.Context(), "tshark", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // without a configuration
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, &stderr)
	}
	for line := range strings.Lines(string(out)) {
		var packet [][]string
		for values := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\t") {
			packet = append(packet, strings.FieldsFunc(values, func(c rune) bool { return c == '\x1f' }))
		}
		packets = append(packets, packet)
	}
	return packets
}

// wireshark tallies a capture, which it reads from a pipe.
func wireshark(t *testing.T, pcapng []byte) tally {
	t.Helper()
	n := tally{}
	for _, packet := range tshark(t, "-", bytes.NewReader(pcapng), "http2", "http2.header.name", "http2.header.value", "grpc.message_length", "http2.rst_stream.error") {
		for i, name := range packet[0] {
			switch value := packet[1][i]; name {
			case ":path":
				n["call "+value]++
			case "grpc-status":
				code, err := strconv.Atoi(value)
				if err != nil {
					t.Fatal(err)
				}
				n["status "+recording.StatusName(codes.Code(code))]++
			}
		}
		n["messages"] += len(packet[2])
		n["reset"] += len(packet[3])
	}
	return n
}

// testPcapng expects that Wireshark sees in a recording the calls that the trace has.
func testPcapng(t *testing.T, client func(addr string)) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed: ", err)
	}
	file := filepath.Join(t.TempDir(), "hub.pcapng")
	dial, addr := startTraced(t, startHub(t), "--trace-messages", "--filter", "*", "--record", file)
	client(addr)
	stopTraced(t, dial)
	want := tally{}
	for line := range strings.Lines(dial.String()) {
		want.addLine([]byte(line))
	}
	pcapng, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := wireshark(t, pcapng); !maps.Equal(got, want) || got["messages"] == 0 {
		t.Errorf("Wireshark sees %v, the trace has %v", got, want)
	}
	if malformed := tshark(t, file, nil, "_ws.malformed", "frame.number"); len(malformed) > 0 {
		t.Errorf("%d packets are malformed", len(malformed))
	}
}
