package stub

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/yamlfile"
)

// message parses a reply. It never returns nil; after an error, ignore the result.
func (p *parser) message(n *yamlfile.Node, md protoreflect.MessageDescriptor) *dynamicpb.Message {
	m := dynamicpb.NewMessage(md)
	p.unmarshal(n, m, "reply", false)
	return m
}

// unmarshal parses n, the JSON form of a message, into m. If partial is true, required
// fields may be missing. subject names the message in errors.
func (p *parser) unmarshal(n *yamlfile.Node, m proto.Message, subject string, partial bool) bool {
	md := m.ProtoReflect().Descriptor()
	name := md.FullName()
	if n.Kind != yaml.MappingNode && !hasOwnJSON(md) {
		p.Errorf(n.Line, "%s must be a mapping with the fields of %s, not %s", subject, name, n.Describe())
		return false
	}
	var j jsonText
	j.appendValue(n)
	options := protojson.UnmarshalOptions{AllowPartial: partial, Resolver: p.types}
	err := options.Unmarshal(j.text, m)
	if err == nil {
		return true
	}
	line, text := j.explain(err)
	if line == 0 {
		line = n.Line
	}
	if url := n.Get("@type"); url != nil && name == "google.protobuf.Any" {
		if mt, err := p.types.FindMessageByURL(url.Text); err == nil {
			name = mt.Descriptor().FullName()
		}
	}
	p.Errorf(line, "%s is not a valid %s: %s", subject, name, yamlfile.Truncate(text))
	return false
}

// hasOwnJSON reports whether md is a well-known type with a JSON form of its own.
func hasOwnJSON(md protoreflect.MessageDescriptor) bool {
	name := md.FullName()
	return name.Parent() == "google.protobuf" && name != "google.protobuf.Empty"
}

// jsonText is JSON with one token on each line, so that the line of an error in it
// identifies the line in the file.
type jsonText struct {
	text   []byte
	lines  []int    // for each line: the line in the file
	fields []string // for each line: the field that contains it
	field  string   // contains the next token
}

func (j *jsonText) appendToken(line int, token string) {
	j.text = append(append(j.text, token...), '\n')
	j.lines = append(j.lines, line)
	j.fields = append(j.fields, j.field)
}

// appendValue appends n.
func (j *jsonText) appendValue(n *yamlfile.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		j.appendToken(n.Line, "{")
		for i, f := range n.Fields {
			if i > 0 {
				j.appendToken(f.Line, ",")
			}
			j.appendToken(f.Line, jsonString(f.Key)+":")
			outer := j.field
			j.field = f.Key
			j.appendValue(f.Value)
			j.field = outer
		}
		j.appendToken(n.Line, "}")
	case yaml.SequenceNode:
		j.appendToken(n.Line, "[")
		for i, item := range n.Items {
			if i > 0 {
				j.appendToken(item.Line, ",")
			}
			j.appendValue(item)
		}
		j.appendToken(n.Line, "]")
	default:
		j.appendToken(n.Line, scalar(n))
	}
}

func jsonString(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""` // can't happen for a string
	}
	return string(text)
}

// jsonNumber matches numbers that are the same in JSON and YAML.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalar returns n in JSON. Values that JSON doesn't have become strings.
func scalar(n *yamlfile.Node) string {
	switch n.Tag {
	case "!!null":
		return "null"
	case "!!bool":
		if v, ok := n.Bool(); ok {
			return strconv.FormatBool(v)
		}
	case "!!binary":
		return jsonString(strings.Join(strings.Fields(n.Text), ""))
	case "!!int", "!!float":
		if jsonNumber.MatchString(n.Text) {
			return n.Text
		}
		if i, err := strconv.ParseInt(n.Text, 0, 64); err == nil {
			return strconv.FormatInt(i, 10)
		}
		if u, err := strconv.ParseUint(n.Text, 0, 64); err == nil {
			return strconv.FormatUint(u, 10)
		}
		if f, err := strconv.ParseFloat(n.Text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		switch strings.ToLower(n.Text) {
		case ".inf", "+.inf":
			return `"Infinity"`
		case "-.inf":
			return `"-Infinity"`
		case ".nan":
			return `"NaN"`
		}
	}
	return jsonString(n.Text)
}

// position matches the position in an error of protojson.
var position = regexp.MustCompile(`\(line ([0-9]+):[0-9]+\): `)

// explain returns the line in the file for an error of protojson, 0 if it is unknown, and
// the error's text without prefix and position.
func (j *jsonText) explain(err error) (line int, text string) {
	text = err.Error()
	field := ""
	if at := position.FindStringSubmatchIndex(text); at != nil {
		if i, err := strconv.Atoi(text[at[2]:at[3]]); err == nil && 1 <= i && i <= len(j.lines) {
			line, field = j.lines[i-1], j.fields[i-1]
		}
		text = text[at[1]:]
	}
	// protojson varies this space on purpose.
	text = strings.TrimLeft(strings.TrimPrefix(text, "proto:"), " \u00a0")
	for token, kind := range map[string]string{"{": "mapping", "[": "list"} {
		if rest, ok := strings.CutSuffix(text, " "+token); ok {
			text = rest + " " + kind
		}
	}
	where := ""
	if field != "" {
		where = " in field " + yamlfile.Quote(field)
	}
	switch token, ok := strings.CutPrefix(text, "unexpected token "); {
	case ok:
		text = "unexpected " + token + where
	case strings.HasPrefix(text, "invalid google.protobuf."):
		text += where
	case strings.HasPrefix(text, "invalid value for string ") && !strings.HasSuffix(text, " mapping") && !strings.HasSuffix(text, " list"):
		text += " (quote strings that look like another type)"
	}
	return line, text
}
