package shell

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/call"
)

// Inside a call each line is sent as a message, and responses are printed as they arrive.
func TestStream(t *testing.T) {
	t.Parallel()
	p := startShell(t, nil)
	p.typeLine("call Echo")
	p.await(`Each line is now a message of wstun.demo.v1.Hub/Echo:`)
	p.await(`\[Echo> \]`)
	p.typeLine(`{"text": "one"}`)
	p.await(`{"text":"one","count":1}\n`)
	p.typeLine(`{"txet": "two"}`)
	p.await(`not sent: .*unknown field "txet"`)
	p.typeLine(`.send {"text": "two"} {"text": "three"}`)
	p.await(`"two","count":2}\n{"text":"three","count":3}\n`)
	p.typeLine(".send")
	p.await(`\.send: missing JSON`)
	p.typeLine(".nothing")
	p.await(`"\.nothing" is not a command inside a call`)
	for _, line := range []string{"exit", "ls Hub", "call Sum {}", "describe"} {
		p.typeLine(line)
		p.await(`lines are messages now: use \.close, \.cancel or \.help`)
	}
	p.typeLine(".help")
	p.await(`\.cancel +cancel the call`)
	p.typeLine(".desc")
	p.await(`wstun\.demo\.v1\.EchoRequest is a message:\nmessage EchoRequest \{`)
	p.typeLine(".desc Hub.Sum")
	p.await(`wstun\.demo\.v1\.Hub\.Sum is a method:`)
	p.typeLine(".close")
	p.await(`Echo has ended\.\n\[wstun> \]`)
	p.typeLine(".close")
	p.await(`"\.close": no call is open`)
	p.typeLine("call Sum")
	p.typeLine(`{"value": 3}`)
	p.typeLine(typeCtrlD) // ends the messages, not the shell
	p.await(`{"sum":"3","count":1}\n`)
	p.typeLine(typeCtrlD)
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

// If the server ends a call while a line is being typed, the line is a command.
func TestStreamEndedByServer(t *testing.T) {
	t.Parallel()
	p := startShell(t, nil)
	p.typeLine("call Echo")
	p.typeLine(`{"text": "last", "end": true}`)
	p.await(`Echo has ended\.\n\[wstun> \]`)
	p.typeLine("ls Hub")
	p.await(`wstun\.demo\.v1\.Hub\.Echo\n`)
	p.typeLine("exit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	p := startShell(t, nil)
	p.typeLine(`call WatchKeys {"tick": "0.001s"}`)
	p.await(`{"tick":`)
	p.Interrupt()
	p.await(`Code: Canceled`)
	p.typeLine("call Echo")
	p.await(`\[Echo> \]`)
	p.typeLine("half a line" + typeCtrlC) // discards the line, not the call
	p.typeLine(`{"text": "still"}`)
	p.await(`"still"`)
	p.typeLine(typeCtrlC)
	p.await(`Code: Canceled(.|\n)*\[wstun> \]`)
	p.typeLine("call Echo")
	p.typeLine(".cancel")
	p.await(`Code: Canceled(.|\n)*\[wstun> \]`)
	p.typeLine(typeCtrlC) // nothing to cancel
	p.typeLine("quit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

// Ctrl-C ends the printing of a long response, here during its first Write.
func TestInterruptPrinting(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	written := 0
	p := startShell(t, func(s *Shell) {
		s.Stdout = writerFunc(func(text []byte) (int, error) {
			s.Interrupt()
			written += len(text)
			return len(text), nil
		})
	})
	p.typeLine(`call Echo {"text": "` + strings.Repeat("x", size) + `"}`)
	p.await("Code: Canceled")
	p.typeLine("exit")
	if err := p.wait(); err != nil || written >= size {
		t.Errorf("%v, %d bytes written, want fewer than the response has", err, written)
	}
}

// The end of the context ends the shell in every state.
func TestContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped")
	for _, line := range []string{"", "call WatchKeys", "call Echo", "wait"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		waiting := make(chan struct{})
		p := startShellContext(ctx, t, func(s *Shell) {
			s.Ready = func(ctx context.Context) error {
				if line != "wait" {
					return nil
				}
				close(waiting)
				<-ctx.Done()
				return context.Cause(ctx)
			}
		})
		switch line {
		case "wait":
			p.typeLine("ls")
			<-waiting
		case "call WatchKeys":
			p.typeLine(line)
			p.await("snapshot")
		case "call Echo":
			p.typeLine(line)
			p.await("Echo> ")
		}
		cancel(cause)
		if err := p.wait(); !errors.Is(err, cause) {
			t.Errorf("%q: %v, want the cause", line, err)
		}
		if strings.Contains(p.screen.String(), cause.Error()) {
			t.Errorf("%q: reported, too", line)
		}
	}
}

func TestMaxTime(t *testing.T) {
	t.Parallel()
	blocked := false
	p := startShell(t, func(s *Shell) {
		for _, name := range []string{"Sleep", "Echo"} { // resolve them now: MaxTime is for the call alone
			if _, err := s.Target.Method(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		s.MaxTime = 50 * time.Millisecond
		s.Ready = func(ctx context.Context) error {
			if blocked {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	})
	p.typeLine(`call wstun.demo.v1.Hub/Sleep {"duration": "60s"}`)
	p.await(`Code: DeadlineExceeded`)
	p.typeLine("call wstun.demo.v1.Hub/Echo")
	p.await(`Code: DeadlineExceeded(.|\n)*\[wstun> \]`)
	blocked = true
	p.typeLine("ls")
	p.await(`not done within 50ms\n`)
	p.typeLine("exit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

// An error of Ready fails the command, but not the shell.
func TestNotReady(t *testing.T) {
	t.Parallel()
	p := startShell(t, func(s *Shell) {
		s.Ready = func(context.Context) error { return errors.New("no session: gone") }
	})
	for _, line := range []string{"ls", "ls Hub", "desc Hub", "call Echo"} {
		p.typeLine(line)
		p.await("no session: gone\n")
	}
	p.typeLine("set")
	p.await("compact on\n")
	p.typeLine("exit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	p := startShell(t, nil)
	p.typeLine("set emit-defaults on")
	p.typeLine("set proto-names on")
	p.typeLine("set compact off")
	p.typeLine("time on")
	p.typeLine(`call CreateKey {"name": "a"}`)
	p.await(`{\n  "name": "a",\n(.|\n)*"create_time"`)
	p.await(`time: .*, headers after .*, first message after `)
	p.typeLine("set")
	p.await("compact off\nemit-defaults on\nerrexit off\nproto-names on\ntime on\ntimestamps off\n")
	for line, want := range map[string]string{
		"set nonsense on": `unknown option "nonsense"`,
		"set compact":     `compact "": want on or off`,
		"time perhaps":    `time "perhaps": want on or off`,
		"help nonsense":   `unknown command "nonsense"`,
		"exit now":        `unexpected "now"`,
		"ls a b":          `unexpected "b"`,
		"desc -x":         `desc: unknown flag "-x"`,
		"clear now":       `unexpected "now"`,
		"call Echo >":     `call: missing FILE after >`,
		"call":            `call: missing METHOD`,
		"header secret":   `"secret" is not valid metadata\n`,
		"header s: \x01":  `"s" is not valid metadata\n`,
		"unset none":      `no metadata "none" is set`,
		"cal":             `unknown command "cal"`,
	} {
		p.typeLine(line)
		p.await(want)
	}
	p.typeLine("clear")
	p.await(`\[cleared\]`)
	p.typeLine("help time")
	p.await(`time on\|off +turn on or off the printing of how long`)
	p.typeLine("exit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
}

// header and unset change the metadata, but not the map that the caller passed in.
func TestMetadata(t *testing.T) {
	t.Parallel()
	first := metadata.Pairs("x-one", "1")
	p := startShell(t, func(s *Shell) { s.Metadata = first })
	p.typeLine("header X-Two:  2 ")
	p.typeLine("header")
	p.await("x-one: 1\nx-two: 2\n")
	p.typeLine("unset X-ONE")
	p.typeLine("header")
	p.await("(?m)^x-two: 2\n")
	p.typeLine("exit")
	if err := p.wait(); err != nil {
		t.Error(err)
	}
	if len(first) != 1 || first.Get("x-one")[0] != "1" {
		t.Errorf("%v was changed", first)
	}
}

func runScript(t *testing.T, text string, change func(*Shell)) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs strings.Builder
	s := &Shell{Target: hubTarget(t), Input: NewScript(strings.NewReader(text)), Stdout: &out, Stderr: &errs, Settings: Settings{Compact: true}}
	if change != nil {
		change(s)
	}
	err = s.Run(t.Context())
	return out.String(), errs.String(), err
}

func TestScript(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text     string
		errexit        bool
		stdout, stderr string
		err            string // beginning of the text of a CommandError; empty: no error
	}{
		{"empty", "", false, "", "", ""},
		{"last line without end", "call Sum {\"value\": 1}", false, "{\"sum\":\"1\",\"count\":1}\n", "", ""},
		{"carriage returns", "# c\r\ncall Sum\r\n{\"value\": 1}\r\n.close\r\n", false, "{\"sum\":\"1\",\"count\":1}\n", "", ""},
		{"continued", "call Sum \\\n{\"value\":\\\n1}\n", false, "{\"sum\":\"1\",\"count\":1}\n", "", ""},
		{"continued to the end", "call Sum {\"value\":1}\\", false, "{\"sum\":\"1\",\"count\":1}\n", "", ""},
		{"stream to the end", "call Sum\n{\"value\": 1}\n", false, "{\"sum\":\"1\",\"count\":1}\n", "", ""},
		{"status", "call DeleteKey {\"name\":\"a\"}\n", false, "", "NotFound", "wstun.demo.v1.Hub/DeleteKey: NotFound"},
		{"status of a stream", "call Sum\n{\"value\": 1}\n.cancel\n", false, "", "line 1: wstun.demo.v1.Hub/Sum: Canceled\n", "wstun.demo.v1.Hub/Sum: Canceled"},
		{"bad message in a stream", "call Sum\nno\n.close\n", false, "{}\n", "line 2: wstun.demo.v1.Hub/Sum: not sent: ", "not sent: "},
		{"goes on", "no\ncall Sum {}\n", false, "{\"count\":1}\n", "line 1: unknown command", ""},
		{"errexit", "no\ncall Sum {}\n", true, "", "line 1: unknown command", "unknown command"},
		{"errexit in a stream", "call Sum\nno\n.close\n", true, "", "line 2: wstun.demo.v1.Hub/Sum: not sent: ", "not sent: "},
		{"exit", "no\nexit\nls\n", false, "", "line 1", "unknown command"},
		{"exit after success", "no\ncall Sum {}\nexit\nls\n", false, "{\"count\":1}\n", "line 1", ""},
		{"wrong exit", "exit now\n", false, "", "line 1", "exit: unexpected"},
		{"JSON of several lines", "call Sum {\n  \"value\": 1\n}\nno\n", false, "{\"sum\":\"1\",\"count\":1}\n", "line 4: ", "unknown command"},
		{"messages of several lines", "call Sum\n{\n\"value\": 1}\n.send {\"value\":\n2}\n.close\n", false, "{\"sum\":\"3\",\"count\":2}\n", "", ""},
		{"brackets in a string", "call DeleteKey {\"name\": \"{[\"}\nno\n", false, "", "line 2: ", "unknown command"},
		{"string without an end", "call CreateKey {\"name\": \"a}\nno\n", false, "", "line 1: wstun.demo.v1.Hub/CreateKey: not sent: ", "unknown command"},
		{"mistake in several lines", "\ncall Echo {\n\"txt\": \"a\"\n}\n", false, "", "line 2: wstun.demo.v1.Hub/Echo: not sent: line 2 of the JSON: unknown field \"txt\"\n", "not sent: "},
		{"JSON to the end", "call Sum {\n", false, "", "line 1: wstun.demo.v1.Hub/Sum: not sent: ", "not sent: "},
		{"a comment with a brace", "call Sum\n# {\n{\"value\": 1}\n", false, "{\"sum\":\"1\",\"count\":1}\n", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, err := runScript(t, test.text, func(s *Shell) { s.Settings.Errexit = test.errexit })
			if stdout != test.stdout {
				t.Errorf("stdout %q, want %q", stdout, test.stdout)
			}
			if !strings.Contains(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("stderr %q, want %q", stderr, test.stderr)
			}
			ce, ok := errors.AsType[*CommandError](err)
			if test.err == "" && err != nil || test.err != "" && (!ok || !strings.HasPrefix(ce.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if n := strings.Count(stderr, "not sent"); n > 1 {
				t.Errorf("reported %d times: %s", n, stderr)
			}
		})
	}
}

// The error of a failed call is a StatusError.
func TestStatusError(t *testing.T) {
	t.Parallel()
	_, _, err := runScript(t, `call CreateKey {}`, nil)
	if se, ok := errors.AsType[*StatusError](err); !ok || se.Status.Code() != codes.InvalidArgument {
		t.Errorf("%v, want InvalidArgument", err)
	}
}

// An error while reading a script ends Run.
func TestScriptReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	_, _, err := runScript(t, "", func(s *Shell) {
		s.Input = NewScript(io.MultiReader(strings.NewReader("set\n"), readerFunc(func([]byte) (int, error) { return 0, broken })))
	})
	if !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A command fails if its result can't be written.
func TestWriteError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, line := range []string{"ls", "desc Hub", "call Sum {}", "set", "help", "header"} {
		_, stderr, err := runScript(t, line, func(s *Shell) {
			s.Stdout = writerFunc(func([]byte) (int, error) { return 0, broken })
			s.Metadata = metadata.Pairs("a", "b")
		})
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v, want %v; %s", line, err, broken, stderr)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFormatTimings(t *testing.T) {
	t.Parallel()
	r := &call.Result{Timings: call.Timings{End: 3 * time.Millisecond}}
	if got := formatTimings(r); got != "3ms" {
		t.Errorf("without headers: %q", got)
	}
	r.Timings.Headers, r.Timings.First = time.Millisecond, 2*time.Millisecond
	if got, want := formatTimings(r), "3ms, headers after 1ms, first message after 2ms"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
