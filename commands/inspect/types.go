package inspect

import (
	"context"
	"encoding/json"
	"net/http"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
)

const (
	// maxTypes is how many types of messages a method's description has.
	maxTypes = 500

	// maxValues is how many values of an enum are listed.
	maxValues = 1000

	// maxTemplateText is how long an example request may be, in bytes.
	maxTemplateText = 1 << 20
)

// formView describes a method for a form. See api.md.
type formView struct {
	Name     string               `json:"name"`
	Service  string               `json:"service"`
	Kind     string               `json:"kind"`
	Comment  string               `json:"comment,omitempty"`
	Request  string               `json:"request"`
	Response string               `json:"response"`
	Hint     string               `json:"hint,omitempty"`
	Template json.RawMessage      `json:"template,omitempty"`
	Types    map[string]*typeView `json:"types"`
	Note     string               `json:"note,omitempty"`
}

// typeView is a message type.
type typeView struct {
	Comment string       `json:"comment,omitempty"`
	Fields  []*fieldView `json:"fields"`
}

type fieldView struct {
	Name     string     `json:"name,omitempty"`
	Proto    string     `json:"proto,omitempty"`
	Number   int32      `json:"number,omitempty"`
	Type     string     `json:"type"`
	Ref      string     `json:"ref,omitempty"`
	Repeated bool       `json:"repeated,omitempty"`
	Key      string     `json:"key,omitempty"`   // of a map
	Value    *fieldView `json:"value,omitempty"` // of a map
	Oneof    string     `json:"oneof,omitempty"`
	Optional bool       `json:"optional,omitempty"`
	Values   []string   `json:"values,omitempty"`
	Hint     string     `json:"hint,omitempty"`
	Secret   bool       `json:"secret,omitempty"`
	Comment  string     `json:"comment,omitempty"`
}

// hints are examples of the JSON of well-known types.
var hints = map[protoreflect.FullName]string{
	"google.protobuf.Timestamp": `"2026-01-02T15:04:05Z"`, "google.protobuf.Duration": `"1.5s"`, "google.protobuf.FieldMask": `"user.name,photo"`,
	"google.protobuf.Struct": `{"a":1}`, "google.protobuf.Value": `"any JSON"`, "google.protobuf.ListValue": `[1,"a"]`, "google.protobuf.Empty": `{}`,
	"google.protobuf.Any":       `{"@type":"type.googleapis.com/pkg.Type"}`,
	"google.protobuf.BoolValue": `true`, "google.protobuf.StringValue": `"text"`, "google.protobuf.BytesValue": `"base64"`,
	"google.protobuf.Int32Value": `1`, "google.protobuf.UInt32Value": `1`, "google.protobuf.Int64Value": `"1"`, "google.protobuf.UInt64Value": `"1"`,
	"google.protobuf.FloatValue": `1.5`, "google.protobuf.DoubleValue": `1.5`,
}

// method serves the description of a method.
func (h *Handler) method(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	name := protoreflect.FullName(r.PathValue("service") + "." + r.PathValue("method"))
	symbol, err := h.opts.Catalog.Find(ctx, name)
	if err != nil {
		fail(w, http.StatusNotFound, string(name)+": "+err.Error(), "")
		return
	}
	md, ok := symbol.Descriptor.(protoreflect.MethodDescriptor)
	if !ok {
		fail(w, http.StatusNotFound, string(name)+" isn't a method", "")
		return
	}
	f := &formView{
		Name: string(md.Name()), Service: string(md.Parent().FullName()), Kind: kindOf(md), Comment: comment(md),
		Request: string(md.Input().FullName()), Response: string(md.Output().FullName()), Types: map[string]*typeView{}, Hint: hints[md.Input().FullName()],
	}
	f.add(md.Input())
	if example, err := reflection.Template(ctx, md.Input()); err == nil {
		if text, err := message.Format(ctx, example, symbol.Types(ctx), &message.Options{Compact: true, EmitDefaults: true, MaxSize: maxTemplateText}); err == nil {
			f.Template = json.RawMessage(text)
		}
	}
	reply(w, http.StatusOK, f)
}

// add adds the type md, and those of its fields.
func (f *formView) add(md protoreflect.MessageDescriptor) {
	for queue := []protoreflect.MessageDescriptor{md}; len(queue) > 0; queue = queue[1:] {
		md := queue[0]
		name := string(md.FullName())
		switch {
		case f.Types[name] != nil, hints[md.FullName()] != "":
			continue
		case len(f.Types) == maxTypes:
			f.Note = "some types are missing: there are too many"
			return
		}
		t := &typeView{Comment: comment(md), Fields: []*fieldView{}}
		f.Types[name] = t
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			t.Fields = append(t.Fields, newFieldView(fd))
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if fd.Message() != nil {
				queue = append(queue, fd.Message())
			}
		}
	}
}

func newFieldView(fd protoreflect.FieldDescriptor) *fieldView {
	v := newValueView(fd)
	v.Name, v.Proto, v.Number, v.Comment = text(fd.JSONName()), string(fd.Name()), int32(fd.Number()), comment(fd)
	if fd.IsMap() {
		v.Type, v.Ref, v.Hint = "map", "", ""
		v.Key, v.Value = fd.MapKey().Kind().String(), newValueView(fd.MapValue())
	}
	v.Repeated = fd.IsList()
	if oneof := fd.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		v.Oneof = string(oneof.Name())
	} else {
		v.Optional = fd.HasPresence() && !fd.IsList()
	}
	if o, ok := fd.Options().(*descriptorpb.FieldOptions); ok {
		v.Secret = o.GetDebugRedact()
	}
	return v
}

// newValueView describes one value of a field.
func newValueView(fd protoreflect.FieldDescriptor) *fieldView {
	v := &fieldView{Type: fd.Kind().String()}
	switch {
	case fd.Message() != nil:
		v.Type, v.Ref, v.Hint = "message", string(fd.Message().FullName()), hints[fd.Message().FullName()]
	case fd.Enum() != nil:
		v.Ref = string(fd.Enum().FullName())
		for i := range min(fd.Enum().Values().Len(), maxValues) {
			v.Values = append(v.Values, string(fd.Enum().Values().Get(i).Name()))
		}
	}
	return v
}
