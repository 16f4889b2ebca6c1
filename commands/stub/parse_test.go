package stub_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/stub"
)

// wantErrors parses text and checks the lines of the error.
func wantErrors(t *testing.T, text string, files *protoregistry.Files, want ...string) {
	t.Helper()
	answers, err := stub.Parse("f", []byte(text), files)
	if err == nil {
		t.Fatalf("Parse(%q) = %v, want %q", text, answers, want)
	}
	if got, want := err.Error(), strings.Join(want, "\n"); got != want {
		t.Errorf("Parse(%q)\n got %s\nwant %s", text, got, want)
	}
}

func TestFileErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{"f:1: the file is empty"}},
		{"# nothing\n", []string{"f:1: the file is empty"}},
		{"\n- a\n", []string{"f:2: the file must be a mapping with methods, not a list"}},
		{"\nmethod: {}\n", []string{`f:2: the file cannot have the key "method"; did you mean "methods"?`}},
		{"{}", []string{"f:1: the file has no methods"}},
		{"methods:\n", []string{"f:1: methods must be a mapping, not nothing"}},
		{"methods: {}\n", []string{"f:1: methods is empty"}},
		{"methods: {}\n---\na: 1\n", []string{"f:2: the file has a second document"}},

		{"a: 1\nb: c: d\n", []string{"f:2: mapping values are not allowed in this context"}},
		{"a: [\nb: c\n", []string{"f:3: did not find expected ',' or ']', while parsing a flow sequence from line 1"}},
		{"a: b\nc: \"d\n", []string{"f:3: found unexpected end of stream, while scanning a quoted scalar from line 2"}},
		{"a:\n  b: c\n\td: e\n", []string{"f:3: indent with spaces, not tabs"}},
		{"a:\n\tb: c\n", []string{"f:2: indent with spaces, not tabs"}},
		{"a: *x\n", []string{"f:1: unknown anchor 'x' referenced"}},
		{"a: b\nc: \x01\n", []string{"f:2: control characters are not allowed (value: 1)"}},
		{"a: b\n\nc: \xff\n", []string{"f:3: invalid leading UTF-8 octet (value: 255)"}},
		{"methods:\n  a: &x\n    - *x\n", []string{"f:3: alias *x is inside its own anchor"}},
		{"a: !set {}\nb: !!int {}\n", []string{`f:1: tag "!set" is not supported here`, `f:2: tag "!!int" is not supported here`}},
		{"a: 1\nb: 2\na: 3\n", []string{`f:3: duplicate key "a", first on line 1`}},
		{"? [a]\n: b\n~: c\n", []string{"f:1: a key must be a string, not a list", "f:3: a key must be a string, not nothing"}},
		{"a: &a 1\n<<: *a\n", []string{`f:1: << merges mappings, not "1"`}},

		{"methods: {Hub: {}}", []string{`f:1: method "Hub" must have the form package.Service/Method`}},
		{"methods: {Hub/: {}}", []string{`f:1: method "Hub/" must have the form package.Service/Method`}},
		{"methods:\n  Hub/CreateKey: {}\n", []string{`f:2: unknown service "Hub"; did you mean "wstun.demo.v1.Hub"?`}},
		{"methods:\n  wstun.demo.v2.Hub/CreateKey: {}\n", []string{`f:2: unknown service "wstun.demo.v2.Hub"; did you mean "wstun.demo.v1.Hub"?`}},
		{"methods:\n  wstun.demo.v1.Key/CreateKey: {}\n", []string{`f:2: unknown service "wstun.demo.v1.Key"; did you mean "wstun.demo.v1.Hub"?`}},
		{"methods:\n  other.Thing/Do: {}\n", []string{`f:2: unknown service "other.Thing"`}},
		{"methods:\n  wstun.demo.v1.Hub/CreateKeys: {}\n", []string{`f:2: service wstun.demo.v1.Hub has no method "CreateKeys"; did you mean "CreateKey"?`}},
		{"methods:\n  wstun.demo.v1.Hub/Multiply: {}\n", []string{`f:2: service wstun.demo.v1.Hub has no method "Multiply"`}},
		{
			"methods:\n  wstun.demo.v1.Hub/Sum: {reply: {}}\n  wstun.demo.v1.Hub.Sum: {reply: {}}\n",
			[]string{`f:3: duplicate method "wstun.demo.v1.Hub.Sum", first on line 2`},
		},
		{"methods:\n  wstun.demo.v1.Hub/Sum: []\n", []string{`f:2: method "wstun.demo.v1.Hub/Sum" needs a rule`}},
		{"methods:\n  wstun.demo.v1.Hub/Sum:\n", []string{`f:2: method "wstun.demo.v1.Hub/Sum" needs a rule`}},
	} {
		wantErrors(t, tt.text, protoregistry.GlobalFiles, tt.want...)
	}
}

func TestRuleErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method string
		rules  string // begin on line 3
		want   []string
	}{
		// The rule as a whole.
		{"CreateKey", "- reply", []string{
			`f:3: a rule must be a mapping with when, delay, headers, reply, stream, stay_open, error, trailers, not "reply"`,
		}},
		{"CreateKey", "- {}", []string{"f:3: CreateKey needs a reply or an error"}},
		{"Sum", "- {delay: 1s}", []string{"f:3: Sum needs a reply or an error"}},
		{"CreateKey", "- relpy: {}", []string{`f:3: a rule cannot have the key "relpy"; did you mean "reply"?`}},
		{"CreateKey", "- reply: {}\n  body: 1", []string{
			`f:4: a rule cannot have the key "body"; the keys are when, delay, headers, reply, stream, stay_open, error, trailers`,
		}},
		{"CreateKey", "- reply: {}\n- when: {name: a}\n  reply: {}", []string{
			"f:4: this rule is never reached: the one on line 3 matches everything",
		}},
		{"CreateKey", "- reply: {}\n  error: {code: 1}", []string{"f:4: CreateKey cannot have both a reply and an error"}},
		{"CreateKey", "- stream:\n  - reply: {}", []string{"f:4: CreateKey has one response: use reply instead of stream"}},
		{"Sum", "- reply: {}\n  stream: []", []string{"f:4: Sum has one response: use reply instead of stream"}},
		{"CreateKey", "- reply: {}\n  stay_open: true", []string{"f:4: CreateKey has one response and cannot stay open"}},
		{"WatchKeys", "- delay: 1s", []string{"f:3: the rule has no reply, stream or error; to send no responses, use stream: []"}},
		{"WatchKeys", "- reply: {}\n  stream: []", []string{"f:4: a rule cannot have both reply and stream"}},
		{"Echo", "- stay_open: true\n  error: {code: 1}", []string{"f:4: a rule cannot have both stay_open and error"}},

		// delay, stay_open and stream.
		{"Echo", "- reply: {}\n  delay: 1", []string{`f:4: delay must be a duration such as 100ms or 1m30s, not "1"`}},
		{"Echo", "- reply: {}\n  delay: [1s]", []string{"f:4: delay must be a duration such as 100ms or 1m30s, not a list"}},
		{"Echo", "- reply: {}\n  delay: -1s", []string{`f:4: delay must not be negative, not "-1s"`}},
		{"Echo", "- stay_open: 'true'", []string{`f:3: stay_open must be true or false, not "true"`}},
		{"Echo", "- stream: {}", []string{"f:3: stream must be a list of items with delay, reply, not a mapping"}},
		{"Echo", "- stream:\n  - {}\n  - text: a", []string{
			"f:4: an item of stream needs a reply, a delay or both",
			`f:5: an item of stream cannot have the key "text"; the keys are delay, reply`,
			"f:5: an item of stream needs a reply, a delay or both",
		}},
		{"Echo", "- stream:\n  - delay: soon\n    reply:\n      txt: a", []string{
			`f:4: delay must be a duration such as 100ms or 1m30s, not "soon"`,
			`f:6: reply is not a valid wstun.demo.v1.EchoResponse: unknown field "txt"`,
		}},

		// Messages.
		{"CreateKey", "- reply: k1", []string{`f:3: reply must be a mapping with the fields of wstun.demo.v1.Key, not "k1"`}},
		{"CreateKey", "- reply:\n", []string{"f:3: reply must be a mapping with the fields of wstun.demo.v1.Key, not nothing"}},
		{"CreateKey", "- reply:\n    secret: s\n    naem: a", []string{`f:5: reply is not a valid wstun.demo.v1.Key: unknown field "naem"`}},
		{"CreateKey", "- reply:\n    secret: s\n    name:\n      12", []string{
			`f:6: reply is not a valid wstun.demo.v1.Key: invalid value for string field name: 12 (quote strings that look like another type)`,
		}},
		{"CreateKey", "- reply:\n    name: [a]", []string{`f:4: reply is not a valid wstun.demo.v1.Key: invalid value for string field name: list`}},
		{"CreateKey", "- reply:\n    create_time: 2026-01-02", []string{
			`f:4: reply is not a valid wstun.demo.v1.Key: invalid google.protobuf.Timestamp value "2026-01-02" in field "create_time"`,
		}},
		{"Sum", "- reply:\n    count: -1", []string{`f:4: reply is not a valid wstun.demo.v1.SumResponse: invalid value for uint32 field count: -1`}},
		{"Sum", "- reply: {count: 1, count: 2}", []string{`f:3: duplicate key "count", first on line 3`}},
		{"WatchKeys", "- reply:\n    deleted: a\n    created: {}", []string{
			`f:5: reply is not a valid wstun.demo.v1.KeyEvent: error parsing "created", oneof wstun.demo.v1.KeyEvent.event is already set`,
		}},
		{"WatchKeys", "- reply:\n    snapshot:\n      keys:\n      - name: a\n      - b", []string{
			`f:7: reply is not a valid wstun.demo.v1.KeyEvent: unexpected "b" in field "keys"`,
		}},
		{"WatchKeys", "- reply:\n    snapshot: []", []string{`f:4: reply is not a valid wstun.demo.v1.KeyEvent: unexpected list in field "snapshot"`}},
		{"WatchKeys", "- reply:\n    snapshot: {keys: {}}", []string{`f:4: reply is not a valid wstun.demo.v1.KeyEvent: unexpected mapping in field "keys"`}},
		{"Sleep", "- when:\n    duration: 5\n  reply: {}", []string{`f:4: when is not a valid wstun.demo.v1.SleepRequest: unexpected 5 in field "duration"`}},
		{"WatchKeys", "- when: [1]\n  reply: {}", []string{"f:3: when must be a mapping with the fields of wstun.demo.v1.WatchKeysRequest, not a list"}},
		{"WatchKeys", "- when: {max_events: 1, maxEvents: 2}\n  reply: {}", []string{
			`f:3: when is not a valid wstun.demo.v1.WatchKeysRequest: duplicate field "maxEvents"`,
		}},

		// Errors.
		{"Sum", "- error: NOT_FOUND", []string{`f:3: error must be a mapping with code, message, details, not "NOT_FOUND"`}},
		{"Sum", "- error: {message: m}", []string{"f:3: error needs a code"}},
		{"Sum", "- error: {code: NOTFOUND}", []string{`f:3: unknown code "NOTFOUND"; did you mean "NOT_FOUND"?`}},
		{"Sum", "- error: {code: 17}", []string{`f:3: unknown code "17"`}},
		{"Sum", "- error: {code: 0}", []string{"f:3: an error cannot have the code 0"}},
		{"Sum", "- error: {code: ok}", []string{"f:3: an error cannot have the code ok"}},
		{"Sum", "- error: {code: [1]}", []string{"f:3: code must be a name such as NOT_FOUND or a number, not a list"}},
		{"Sum", "- error: {code: 5, message: [m]}", []string{"f:3: message must be a string, not a list"}},
		{"Sum", "- error: {code: 5, details: {}}", []string{"f:3: details must be a list, not a mapping"}},
		{"Sum", "- error:\n    code: 5\n    details:\n    - '@type': google.rpc.Nothing\n    - reason: R\n    - a", []string{
			`f:6: unknown @type "google.rpc.Nothing"`,
			"f:7: a detail must be a mapping with @type, such as type.googleapis.com/google.rpc.ErrorInfo",
			"f:8: a detail must be a mapping with @type, such as type.googleapis.com/google.rpc.ErrorInfo",
		}},
		{"Sum", "- error:\n    code: 5\n    details:\n    - '@type': google.rpc.ErrorInfo\n      raison: R", []string{
			`f:7: detail is not a valid google.rpc.ErrorInfo: unknown field "raison"`,
		}},

		// Metadata.
		{"Sum", "- headers: a\n  reply: {}", []string{`f:3: headers must be a mapping of names to values, not "a"`}},
		{"Sum", "- trailers: {grpc-status: 1}\n  reply: {}", []string{`f:3: the name "grpc-status" in trailers is reserved for gRPC`}},
		{"Sum", "- headers: {Content-Type: a}\n  reply: {}", []string{`f:3: the name "Content-Type" in headers is reserved for HTTP`}},
		{"Sum", "- headers:\n    ':path': a\n    'ä': b\n    '': c", []string{
			`f:4: the name ":path" in headers must consist of letters, digits, -, _ and .`,
			`f:5: the name "ä" in headers must consist of letters, digits, -, _ and .`,
			`f:6: the name "" in headers is empty`,
		}},
		{"Sum", "- headers:\n    a: ä\n    b:\n    c: [d, [e]]\n    d-bin: '%'", []string{
			`f:4: "a" in headers must be printable ASCII, not "ä"`,
			`f:5: "b" in headers must be a string or a list of strings, not nothing`,
			`f:6: "c" in headers must be a string or a list of strings, not a list`,
			`f:7: "d-bin" in headers must be base64, not "%"`,
		}},
	} {
		text := "methods:\n wstun.demo.v1.Hub/" + tt.method + ":\n  " + strings.ReplaceAll(tt.rules, "\n", "\n  ")
		wantErrors(t, text, protoregistry.GlobalFiles, tt.want...)
	}
}

// TestManyErrors checks that Parse sorts the errors and returns only ten.
func TestManyErrors(t *testing.T) {
	t.Parallel()
	text := "methods:\n  wstun.demo.v1.Hub/Sum:\n  - reply: {a: 1}\n    bad: 1\n    delay: 1\n"
	want := []string{
		`f:3: reply is not a valid wstun.demo.v1.SumResponse: unknown field "a"`,
		`f:4: a rule cannot have the key "bad"; the keys are when, delay, headers, reply, stream, stay_open, error, trailers`,
		`f:5: delay must be a duration such as 100ms or 1m30s, not "1"`,
	}
	for i := range 100 {
		text += fmt.Sprintf("  wstun.demo.v1.Hub/M%d: {}\n", i)
		if i < 7 {
			want = append(want, fmt.Sprintf(`f:%d: service wstun.demo.v1.Hub has no method "M%d"`, 6+i, i))
		}
	}
	wantErrors(t, text, protoregistry.GlobalFiles, want...)

	_, err := stub.Parse("f", []byte(text), protoregistry.GlobalFiles)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 10 {
		t.Errorf("error of type %T does not join 10", err)
	}
}

func TestLongName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 900)
	wantErrors(t, "methods:\n  "+long+"/"+long+": 1\n", protoregistry.GlobalFiles, `f:2: unknown service "`+long[:200]+`…"`)
}

func TestWithoutDescriptors(t *testing.T) {
	t.Parallel()
	if _, err := stub.Parse("f", []byte("methods: {a/b: {}}"), nil); err == nil || err.Error() != `f:1: unknown service "a"` {
		t.Errorf("Parse without descriptors = %v", err)
	}
}
