package stub_test

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/stub"
)

// errorLine matches each error of Parse. Names in the file may contain line breaks,
// errors may not.
var errorLine = regexp.MustCompile(`^f:[1-9][0-9]*: [^\n]+$`)

func FuzzParse(f *testing.F) {
	f.Add("methods:\n  wstun.demo.v1.Hub/CreateKey:\n  - when: {name: a, x: 1}\n    delay: 1s\n    headers: {a: b, c-bin: [AA]}\n    reply: {name: k, createTime: 2026-01-02T03:04:05Z}\n")
	f.Add("methods:\n  wstun.demo.v1.Hub/WatchKeys:\n    stream: [&r {reply: {snapshot: {keys: [{name: a}]}}}, {<<: *r, delay: 1s}]\n    stay_open: true\n")
	f.Add("methods: {wstun.demo.v1.Hub/Sum: {error: {code: 5, message: m, details: [{'@type': google.rpc.ErrorInfo, metadata: {a: b}}]}}}")
	f.Add("methods: {google.longrunning.Operations/Wait: {when: {timeout: 1s}, reply: {response: {'@type': a/google.rpc.Help}}}}")
	f.Add("a: &a [*a]\nb: !!binary |\n  AA==\nc: \"\\x00\\u2028\"\n? [d]\n: e")
	f.Add("a: \r\n - >-\n  b\n - 0x1f\n - .inf\n - -.5e3\n - ~\n--- |\n x\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "*") > 20 {
			t.Skip("aliases may expand to any size")
		}
		answers, err := stub.Parse("f", []byte(text), protoregistry.GlobalFiles)
		if err == nil {
			if len(answers.Services()) == 0 {
				t.Error("Parse accepts a file without services")
			}
			answers.Close()
			return
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) > 10 {
			t.Errorf("%d errors", len(lines))
		}
		for _, line := range lines {
			if !errorLine.MatchString(line) {
				t.Errorf("error %q", line)
			}
		}
	})
}
