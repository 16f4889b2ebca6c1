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
)

// message parses a reply. It never returns nil, but what it returns after an
// error is of no use.
func (p *parser) message(n *node, md protoreflect.MessageDescriptor) *dynamicpb.Message {
	m := dynamicpb.NewMessage(md)
	p.unmarshal(n, m, "reply", false)
	return m
}

// unmarshal parses m in its JSON form. If it is partial, required fields may
// be left out.
func (p *parser) unmarshal(n *node, m proto.Message, what string, partial bool) bool {
	md := m.ProtoReflect().Descriptor()
	name := md.FullName()
	if n.kind != yaml.MappingNode && !hasOwnJSON(md) {
		p.errorf(n.line, "%s must be a mapping with the fields of %s, not %s", what, name, n.is())
		return false
	}
	var j jsonText
	j.value(n)
	options := protojson.UnmarshalOptions{AllowPartial: partial, Resolver: p.types, RecursionLimit: maxDepth + 1}
	err := options.Unmarshal(j.text, m)
	if err == nil {
		return true
	}
	line, why := j.explain(err)
	if line == 0 {
		line = n.line
	}
	if url := n.get("@type"); url != nil && name == "google.protobuf.Any" {
		if mt, err := p.types.FindMessageByURL(url.text); err == nil {
			name = mt.Descriptor().FullName()
		}
	}
	p.errorf(line, "%s is no %s: %s", what, name, clip(why))
	return false
}

// hasOwnJSON reports whether md is one of the messages whose JSON form is not
// that of their fields.
func hasOwnJSON(md protoreflect.MessageDescriptor) bool {
	name := md.FullName()
	return name.Parent() == "google.protobuf" && name != "google.protobuf.Empty"
}

// jsonText is JSON with one token on each line, so that the line of an error in
// it tells the line of the file.
type jsonText struct {
	text   []byte
	lines  []int    // in the file, of each line
	fields []string // that each line is in
	field  string   // that what comes next is in
}

func (j *jsonText) token(line int, token string) {
	j.text = append(append(j.text, token...), '\n')
	j.lines = append(j.lines, line)
	j.fields = append(j.fields, j.field)
}

// value appends n.
func (j *jsonText) value(n *node) {
	switch n.kind {
	case yaml.MappingNode:
		j.token(n.line, "{")
		for i, f := range n.fields {
			if i > 0 {
				j.token(f.line, ",")
			}
			j.token(f.line, jsonString(f.key)+":")
			outer := j.field
			j.field = f.key
			j.value(f.value)
			j.field = outer
		}
		j.token(n.line, "}")
	case yaml.SequenceNode:
		j.token(n.line, "[")
		for i, item := range n.items {
			if i > 0 {
				j.token(item.line, ",")
			}
			j.value(item)
		}
		j.token(n.line, "]")
	default:
		j.token(n.line, scalar(n))
	}
}

func jsonString(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""` // it is always possible to marshal a string
	}
	return string(text)
}

// jsonNumber is the form of numbers that JSON shares with YAML.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalar returns n in JSON. What has no form in JSON other than text becomes
// text, which a message then accepts or not.
func scalar(n *node) string {
	switch n.tag {
	case "!!null":
		return "null"
	case "!!bool":
		if v, ok := n.truth(); ok {
			return strconv.FormatBool(v)
		}
	case "!!binary":
		return jsonString(strings.Join(strings.Fields(n.text), ""))
	case "!!int", "!!float":
		if jsonNumber.MatchString(n.text) {
			return n.text
		}
		if i, err := strconv.ParseInt(n.text, 0, 64); err == nil {
			return strconv.FormatInt(i, 10)
		}
		if u, err := strconv.ParseUint(n.text, 0, 64); err == nil {
			return strconv.FormatUint(u, 10)
		}
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		switch strings.ToLower(n.text) {
		case ".inf", "+.inf":
			return `"Infinity"`
		case "-.inf":
			return `"-Infinity"`
		case ".nan":
			return `"NaN"`
		}
	}
	return jsonString(n.text)
}

// position is how protojson says where an error is.
var position = regexp.MustCompile(`\(line ([0-9]+):[0-9]+\): `)

// explain returns the line in the file of an error from protojson, or 0 if it
// has none, and the error without the noise.
func (j *jsonText) explain(err error) (line int, why string) {
	why = err.Error()
	field := ""
	if at := position.FindStringSubmatchIndex(why); at != nil {
		if i, err := strconv.Atoi(why[at[2]:at[3]]); err == nil && 1 <= i && i <= len(j.lines) {
			line, field = j.lines[i-1], j.fields[i-1]
		}
		why = why[at[1]:]
	}
	// A space or a no-break space follows, so that nobody relies on the text.
	why = strings.TrimLeft(strings.TrimPrefix(why, "proto:"), " \u00a0")
	for begin, is := range map[string]string{"{": "mapping", "[": "list"} {
		if rest, ok := strings.CutSuffix(why, " "+begin); ok {
			why = rest + " " + is
		}
	}
	where := ""
	if field != "" {
		where = " in field " + quote(field)
	}
	switch token, ok := strings.CutPrefix(why, "unexpected token "); {
	case ok:
		why = "unexpected " + token + where
	case strings.HasPrefix(why, "invalid google.protobuf."):
		why += where
	case strings.HasPrefix(why, "invalid value for string ") && !strings.HasSuffix(why, " mapping") && !strings.HasSuffix(why, " list"):
		why += " (text that looks like something else needs quotes)"
	}
	return line, why
}
