package commands

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/textfile"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// requestData is the source of the messages to send.
type requestData struct {
	r       *calling
	literal bool   // --data contains the messages
	text    []byte // the messages, unless they are read from standard input
	stdin   bool
}

// newData evaluates --data.
func (r *calling) newData() (*requestData, error) {
	d := &requestData{r: r}
	path, isFile := strings.CutPrefix(r.o.data, "@")
	switch {
	case !r.o.dataGiven, isFile && path == "":
		d.stdin = true
	case isFile:
		var err error
		if d.text, err = textfile.Read(path); err != nil {
			return nil, usage.Errorf("--data: %w", err)
		}
	default:
		d.literal, d.text = true, textfile.Trim([]byte(r.o.data))
	}
	return d, nil
}

// requests returns the requests of one call.
func (d *requestData) requests(ctx context.Context, m *call.Method, types reflection.TypeResolver) (call.Requests, error) {
	if !d.r.o.dataGiven && !m.IsStreamingClient() {
		return call.NoRequests, nil
	}
	opts := &call.RequestOptions{AllowUnknownFields: d.r.o.messages.allowUnknownFields}
	if d.stdin && (d.r.o.repeat > 1 || d.r.o.retry > 0) {
		if err := d.readAll(ctx); err != nil {
			return nil, err
		}
	}
	var in io.Reader = bytes.NewReader(d.text)
	if d.stdin {
		in = d.r.p.stdin
	}
	opts.ReadAhead = !d.stdin || isFile(in)
	if d.stdin && isTerminal(in) {
		fmt.Fprintf(d.r.p.stderr, "wstun: type messages for %s, Ctrl-D ends them\n", reflection.Name(m.MethodDescriptor))
		opts.OnInvalid = func(err *call.RequestError) {
			fmt.Fprintf(d.r.p.stderr, "wstun: not sent: %s\n", escape.Line(err.Error()))
		}
	}
	return call.NewRequests(textfile.NewReader(in), d.r.format.Encoding, types, opts), nil
}

// readAll reads standard input to its end, for several calls.
func (d *requestData) readAll(ctx context.Context) error {
	read := make(chan error, 1)
	var text []byte
	go func() {
		var err error
		text, err = io.ReadAll(textfile.NewReader(d.r.p.stdin))
		read <- err
	}()
	select {
	case err := <-read:
		d.text, d.stdin = text, false
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// explain adds the source of an invalid message to err, and how to fix it.
func (d *requestData) explain(err error) error {
	re, ok := errors.AsType[*call.RequestError](err)
	if !ok {
		return err
	}
	where := strings.TrimPrefix(d.r.o.data, "@")
	switch {
	case !d.r.o.dataGiven && !d.r.method.IsStreamingClient():
		return &usage.Error{Err: fmt.Errorf("no --data: %w", re.Err), Advice: (&dataError{d.r.method, re}).Hint()}
	case d.r.o.dataArgument:
		return &usage.Error{Err: fmt.Errorf("the JSON after the METHOD: %w", re), Advice: (&dataError{d.r.method, re}).Hint()}
	case d.literal:
		return &usage.Error{Err: fmt.Errorf("--data: %w", re), Advice: (&dataError{d.r.method, re}).Hint()}
	case where == "":
		where = "standard input"
	}
	return fmt.Errorf("%s: %w", where, &dataError{d.r.method, re})
}

// dataError is an invalid message for a method.
type dataError struct {
	method *call.Method
	*call.RequestError
}

func (e *dataError) Unwrap() error { return e.RequestError }

func (e *dataError) Hint() string {
	return cmp.Or(call.Suggestion(e.Err), "wstun describe --msg-template shows the fields of "+string(e.method.Input().FullName()))
}
