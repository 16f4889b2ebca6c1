package shell

import (
	"slices"
	"strings"
	"testing"
)

const testProto = `
syntax = "proto3";
package sink;
import "google/protobuf/duration.proto";
message All {
  string a_string = 1;
  bool yes = 2;
  Color color = 3;
  repeated Color colors = 4;
  Inner inner = 5;
  repeated Inner inners = 6;
  map<string, Inner> named = 7;
  map<string, bool> flags = 8;
  google.protobuf.Duration duration = 9;
  int32 number = 10;
  message Inner { string x = 1; All all = 2; }
}
enum Color { RED = 0; REDDISH = 1; GREEN = 2; }
`

// formatCompletion returns a line for each candidate: text with the candidate in place,
// after a vertical bar.
func formatCompletion(c Completion, text string) string {
	var all []string
	for _, candidate := range c.Candidates {
		all = append(all, text[:c.Start]+"|"+candidate.Text)
	}
	return strings.Join(all, "\n")
}

func TestCompleteJSON(t *testing.T) {
	t.Parallel()
	md := compileMessage(t, testProto, "sink.All")
	for _, test := range []struct {
		text string
		want []string
	}{
		{``, []string{`|{`}},
		{`{"a`, []string{`{|"aString": `}},
		{`{"c`, []string{`{|"color": `, `{|"colors": `}},
		{`{"color": "RED", "co`, []string{`{"color": "RED", |"colors": `}},
		{`{"a_string": "", "a`, nil},
		{`{"yes": `, []string{`{"yes": |true`, `{"yes": |false`}},
		{`{"yes": t`, []string{`{"yes": |true`}},
		{`{"yes": true`, nil},
		{`{"color": "R`, []string{`{"color": |"RED"`, `{"color": |"REDDISH"`}},
		{`{"colors": `, []string{`{"colors": |[`}},
		{`{"colors": ["G`, []string{`{"colors": [|"GREEN"`}},
		{`{"aString": `, []string{`{"aString": |"`}},
		{`{"inner": `, []string{`{"inner": |{`}},
		{`{"inner": {"`, []string{`{"inner": {|"x": `, `{"inner": {|"all": `}},
		{`{"inner": {"all": {"inners": [{"x": "", `, []string{`{"inner": {"all": {"inners": [{"x": "", |"all": `}},
		{`{"inners": [`, []string{`{"inners": [|{`}},
		{`{"named": `, []string{`{"named": |{`}},
		{`{"named": {"`, nil},
		{`{"named": {"k": `, []string{`{"named": {"k": |{`}},
		{`{"named": {"k": {"x`, []string{`{"named": {"k": {|"x": `}},
		{`{"flags": {"k": `, []string{`{"flags": {"k": |true`, `{"flags": {"k": |false`}},
		{`{"flags": {"k": {"`, nil},
		{`{"duration": `, nil},
		{`{"duration": {"`, nil},
		{`{"number": `, nil},
		{`{"none": `, nil},
		{`{"none": {"`, nil},
		{`{"yes": {"`, nil},
		{`{"aString": "" `, nil},
	} {
		if got, want := formatCompletion(completeJSON(md, test.text, 0), test.text), strings.Join(test.want, "\n"); got != want {
			t.Errorf("%s: completed to\n%s\nwant\n%s", test.text, got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	s := &Shell{Target: hubTarget(t), Metadata: map[string][]string{"x-one": {"1"}}}
	for _, test := range []struct {
		text string
		want []string
	}{
		{"c", []string{"|call ", "|clear "}},
		{"l", []string{"|ls "}},
		{"li", []string{"|list "}},
		{"  he", []string{"  |header ", "  |help "}},
		{"nonsense ", nil},
		{"ls H", []string{"ls |Hub "}},
		{"call Cr", []string{"call |CreateKey "}},
		{"call wstun.demo.v1.Hub/Cr", []string{"call |wstun.demo.v1.Hub/CreateKey "}},
		{"call CreateKey ", []string{"call CreateKey |{"}},
		{`call  CreateKey {"`, []string{`call  CreateKey {|"name": `}},
		{`call Nonsense {"`, nil},
		{"desc Hub CreateK", []string{"desc Hub |CreateKey ", "desc Hub |CreateKeyRequest "}},
		{"unset x", []string{"unset |x-one "}},
		{"set e", []string{"set |emit-defaults ", "set |errexit "}},
		{"set errexit ", []string{"set errexit |on ", "set errexit |off "}},
		{"set errexit of", []string{"set errexit |off "}},
		{"set nonsense ", nil},
		{"time o", []string{"time |on ", "time |off "}},
		{"time on ", nil},
		{"list H", []string{"list |Hub "}},
		{"help ca", []string{"help |call "}},
		{"header ", nil},
	} {
		if got, want := formatCompletion(s.Complete(test.text), test.text), strings.Join(test.want, "\n"); got != want {
			t.Errorf("%q: completed to\n%s\nwant\n%s", test.text, got, want)
		}
	}
}

func TestCompleteInStream(t *testing.T) {
	t.Parallel()
	p := startShell(t, nil)
	p.typeLine("call Echo")
	p.await("Echo> ")
	for text, want := range map[string]string{
		`{"te`:       `{|"text": `,
		`.send {"te`: `.send {|"text": `,
		`.c`:         "|.close \n|.cancel ",
		"":           "|{",
	} {
		if got := formatCompletion(p.Complete(text), text); got != want {
			t.Errorf("%q: completed to\n%s\nwant\n%s", text, got, want)
		}
	}
	p.typeLine(".close")
	p.typeLine("exit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

// commandNames matches commands.
func TestCommandNames(t *testing.T) {
	t.Parallel()
	var names []string
	for _, c := range commands() {
		if names = append(names, c.name); c.alias != "" {
			names = append(names, c.alias)
		}
	}
	if !slices.Equal(names, commandNames) {
		t.Errorf("%q, want %q", commandNames, names)
	}
}
