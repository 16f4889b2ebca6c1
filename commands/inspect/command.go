package inspect

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// maxCommand is how long the requests of a command may be, in bytes. Linux has a limit of
// 128 KiB for an argument.
const maxCommand = 100 << 10

// notUTF8 matches the key of an object in the place of text that isn't UTF-8, see
// package message.
var notUTF8 = regexp.MustCompile(`"@bytes(:[\w+/=]*)?":`)

// command serves a command that makes a call again.
func (h *Handler) command(w http.ResponseWriter, r *http.Request) {
	as := cmp.Or(r.FormValue("as"), "wstun")
	if as != "grpcurl" && as != "wstun" {
		fail(w, http.StatusBadRequest, "as="+as+": want grpcurl or wstun", "")
		return
	}
	d := h.call(w, r)
	if d == nil {
		return
	}
	text, err := h.commandFor(r.Context(), d, as)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error(), "")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) //nolint:gosec // its type is text/plain
}

// commandFor returns a command line for a POSIX shell, after comments on the parts that are left out.
func (h *Handler) commandFor(ctx context.Context, d *store.Details, as string) (string, error) {
	service, name, _ := strings.Cut(strings.TrimPrefix(d.Method, "/"), "/")
	if !protoreflect.FullName(service).IsValid() || !protoreflect.Name(name).IsValid() {
		return "", errors.New("the method has no name that a command can have")
	}
	c := &commandLine{secrets: h.opts.Secrets}
	header, limit, target := "-H", "-max-time", h.address()
	switch as {
	case "grpcurl":
		c.words = []string{"grpcurl", "-plaintext"}
		if target == "" {
			target = "127.0.0.1:50051"
			c.note("wstun dial URL makes the server available at this address")
		}
	default:
		header, limit, target = "--rpc-header", "--max-time", cmp.Or(h.opts.Target, "ws://127.0.0.1:7070/")
		c.words = []string{"wstun", "call"}
		if h.opts.Target == "" {
			c.note("put the URL of the session here")
		}
	}
	if masked := h.opts.Secrets.Mask(target); masked != target {
		c.note("left out because it is secret: a part of the URL")
		target = masked
	}
	c.metadata(header, d.Request)
	if d.Timeout > 0 {
		c.words = append(c.words, limit, strconv.FormatFloat(d.Timeout.Seconds(), 'f', -1, 64))
	}
	data, err := h.requests(ctx, c, d)
	if err != nil {
		return "", err
	}
	c.words = append(c.words, "-d", data, target, service+"/"+name)
	return c.String(), nil
}

// address returns the address of a plaintext gRPC listener, "" if there is none.
func (h *Handler) address() string {
	if h.opts.Address != "" || h.opts.Role != "dial" || h.opts.Addresses == nil {
		return h.opts.Address
	}
	for _, address := range h.opts.Addresses() {
		if !strings.Contains(address, "/") { // no URL, no socket
			return address
		}
	}
	return ""
}

// requests returns the requests of a call in JSON.
func (h *Handler) requests(ctx context.Context, c *commandLine, d *store.Details) (string, error) {
	messages, _ := h.store.Messages(d.ID, 0, maxCommand)
	var all []string
	size := 0
	for i, m := range messages {
		if m.Position != uint64(i) || d.Lost() > 0 {
			return "", errors.New("some requests aren't kept")
		}
		if m.FromServer {
			continue
		}
		decoded := h.decoder.Message(ctx, d.Event(m), longMessage)
		switch {
		case decoded.Cut || decoded.JSON == "":
			return "", errors.New("a request isn't kept as a whole")
		case !decoded.Schema && len(decoded.Data) > 0:
			return "", errors.New("the type of the requests isn't known")
		case notUTF8.MatchString(decoded.JSON):
			return "", errors.New("a request has text that isn't UTF-8")
		case decoded.Unknown > 0:
			return "", errors.New("a request has fields that aren't in its type")
		}
		text := decoded.JSON
		if removed := slices.Concat(m.Redacted, decoded.Redacted); len(removed) > 0 {
			c.note("left out because they are secret: " + strings.Join(removed, ", "))
			text = withoutRedacted(text)
		}
		all = append(all, text)
		if size += len(text) + 1; size > maxCommand {
			return "", errors.New("the requests are too long for a command line")
		}
	}
	return strings.Join(all, " "), nil
}

// withoutRedacted removes the members of JSON objects that are message.Redacted.
func withoutRedacted(text string) string {
	var value any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&value) != nil {
		return text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(removeRedacted(value)) // it was JSON
	return escape.Text(strings.TrimSpace(b.String()))
}

func removeRedacted(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if member == message.Redacted {
				delete(value, name)
			} else {
				value[name] = removeRedacted(member)
			}
		}
	case []any:
		for i := range value {
			value[i] = removeRedacted(value[i])
		}
	}
	return value
}

// commandLine is a command with comments.
type commandLine struct {
	secrets *escape.Secrets
	notes   []string
	words   []string
}

func (c *commandLine) note(text string) {
	if line := "# " + escape.Line(text); !slices.Contains(c.notes, line) {
		c.notes = append(c.notes, line)
	}
}

// metadata adds the metadata of a call, but for that of gRPC itself.
func (c *commandLine) metadata(flag string, fields []hpack.HeaderField) {
	for _, f := range fields {
		isOwn := call.Reserved(f.Name) != "" || strings.HasPrefix(f.Name, "grpc-") && f.Name != "grpc-trace-bin" && f.Name != "grpc-tags-bin"
		switch {
		case isOwn:
		case f.Value == trace.Redacted || c.secrets.Mask(f.Value) != f.Value:
			c.note("left out because it is secret: " + f.Name)
		case call.CheckMetadata(f.Name, f.Value) != nil || strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' || r > '~' }):
			c.note("left out because a command can't have its value: " + f.Name)
		default:
			c.words = append(c.words, flag, f.Name+": "+f.Value)
		}
	}
}

// String returns the comments and the command, without a line break at the end.
func (c *commandLine) String() string {
	quoted := make([]string, len(c.words))
	for i, word := range c.words {
		quoted[i] = usage.Quote(word)
	}
	return strings.Join(append(c.notes, strings.Join(quoted, " ")), "\n")
}
