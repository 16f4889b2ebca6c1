package shell

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// $.field in JSON and in headers is a value of the last response.
func TestValues(t *testing.T) {
	t.Parallel()
	const echo = `call Echo {"text": "a $.text"} {"text": "b"}` + "\n" // the last response has {"text": "b", "count": 2}
	for _, test := range []struct{ text, stdout, stderr string }{
		{echo + `call Sum {"value": $.count}`, `{"sum":"2","count":1}`, ""},
		{echo + "call Sum\n.send {\"value\": $.count}{\"value\":$.count}\n.close", `{"sum":"4","count":2}`, ""},
		{echo + `call Echo $`, "", `unknown field "count"`},
		{echo + `call Echo {"text": $.text}`, `{"text":"b","count":1}`, ""},
		{echo + "call Echo {\n\"text\":\n$.text}", `{"text":"b","count":1}`, ""},
		{echo + `call Echo {"text": "$.text"}`, `{"text":"$.text","count":1}`, ""},
		{echo + `call Echo {"text": $.txet}`, "", `line 2: $.txet: the last response has no such field`},
		{echo + `call Echo {"text": $[0]}`, "", `line 2: $[0]: $ is not a list in the last response`},
		{echo + `call Echo {"text": $.text.more}`, "", `line 2: $.text.more: $.text is not an object in the last response`},
		{`call Echo {"text": $.text}`, "", `line 1: $.text: there was no response yet`},
		{echo + "header x-text: is $.text, $.count\nheader", "x-text: is b, 2", ""},
		{echo + "header x-price: 3$ or $$\nheader", "x-price: 3$ or $$", ""},
		{echo + "header x: $.none $.no", "", "line 2: $.none: the last response has no such field"},
		{"call GetTemplates\nheader x: $.templates", "", "line 2: $.templates: not a string, a number or a bool, which metadata can have"},
		{"set proto-names on\ncall CreateKey {\"name\": \"k\"}\nheader x: $.createTime", "", "no such field"},
		{"call Watch", "", "unknown method"}, // keeps the response
	} {
		stdout, stderr, _ := runScript(t, test.text+"\n", nil)
		if !strings.HasSuffix(stdout, test.stdout+"\n") && test.stdout != "" {
			t.Errorf("%s: stdout %q, want %q", test.text, stdout, test.stdout)
		}
		if !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
			t.Errorf("%s: stderr %q, want %q", test.text, stderr, test.stderr)
		}
	}
}

func TestMember(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ value, step, want string }{
		{`{"a": {"b": 1}}`, ".a", `{"b": 1}`},
		{`[1, "x"]`, "[1]", `"x"`},
		{`[1]`, "[1]", "$[1]: $ has 1 elements in the last response"},
		{`[1]`, "[99999999999999999999]", "$[99999999999999999999]: $ has 1 elements in the last response"},
		{`{}`, "[1]", "$[1]: $ is not a list in the last response"},
		{`"x"`, ".a", "$.a: $ is not an object in the last response"},
		{`null`, ".a", "$.a: the last response has no such field"},
	} {
		got, err := member([]byte(test.value), "$", test.step)
		if text := string(got); text != test.want && (err == nil || err.Error() != test.want) {
			t.Errorf("%s%s = %s, %v; want %s", test.value, test.step, text, err, test.want)
		}
	}
}

// > FILE and >> FILE write the responses, and only these, to a file.
func TestRedirection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a > b.json")
	stdout, stderr, err := runScript(t, strings.ReplaceAll(`call Echo {"text": "a > b"} > FILE
call Echo {
  "text": $.text
} >>FILE
call Echo >> FILE
{"text": "c"}
.close
call DeleteKey {"name": "none"} > FILE.none
call Echo {"txet": "a"} > FILE
call Echo {"text": "d"} > FILE/none
call Echo > FILE/none
call Echo {"text": "e"}
`, "FILE", file), nil)
	if want := "{\"text\":\"e\",\"count\":1}\n"; stdout != want || err != nil {
		t.Errorf("stdout %q, %v, want %q", stdout, err, want)
	}
	for _, want := range []string{"Code: NotFound", "line 9: wstun.demo.v1.Hub/Echo: not sent: ", "line 10: open ", "line 11: open "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr %q, want %q", stderr, want)
		}
	}
	text, err := os.ReadFile(file)
	if want := "{\"text\":\"a > b\",\"count\":1}\n{\"text\":\"a > b\",\"count\":1}\n{\"text\":\"c\",\"count\":1}\n"; string(text) != want || err != nil {
		t.Errorf("the file has %q, %v, want %q", text, err, want)
	}
}

// Text without $ outside its strings stays as it is.
func FuzzExpandJSON(f *testing.F) {
	f.Add(`{"a": "$.a", "b\"": [1, "x>y"]}`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, text string) {
		expanded, err := (&Shell{}).expandJSON(t.Context(), text)
		if outsideStrings(text, "$") < 0 && (err != nil || expanded != text) {
			t.Errorf("%q became %q, %v", text, expanded, err)
		}
		if data, _, err := cutRedirection(text); err == nil && !strings.Contains(text, data) {
			t.Errorf("%q has %q", text, data)
		}
	})
}

// A path into a server's JSON has a JSON value, or an error.
func FuzzMember(f *testing.F) {
	f.Add(`{"a": [1, {"b": null}]}`, "$.a[1].b")
	f.Add(`[[]]`, "$[0][0]")
	f.Fuzz(func(t *testing.T, text, path string) {
		if !json.Valid([]byte(text)) {
			return
		}
		value := json.RawMessage(text)
		for _, s := range step.FindAllString(jsonValue.FindString(path), -1) {
			var err error
			if value, err = member(value, "$", s); err != nil {
				return
			}
		}
		if !json.Valid(value) {
			t.Errorf("%s of %s is %q", path, text, value)
		}
	})
}
