package commands

import (
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/relay"
)

// Of the refusals of senders that aren't known, at most maxUnknown in unknownPeriod are written:
// otherwise anyone could fill the disk.
const (
	maxUnknown    = 1000
	unknownPeriod = 10 * time.Second
)

// audit appends the records of a relay to a file. If somebody renames or removes the file,
// the next record begins another one. A nil audit does nothing.
type audit struct {
	path   string
	logger *slog.Logger

	mu     sync.Mutex
	file   *os.File
	failed bool // the last write

	begin            time.Time // of the unknownPeriod
	unknown, leftOut int       // records in it, and those left out since the last one
}

// openAudit opens the file of --audit; path "" means none.
func openAudit(path string, logger *slog.Logger) (*audit, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file, no error
	}
	f, err := openAppending(path)
	if err != nil {
		return nil, usage.Errorf("--audit %s: %w", path, pathCause(err))
	}
	return &audit{path: path, logger: logger, file: f}, nil
}

func openAppending(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (a *audit) close() {
	if a != nil {
		_ = a.file.Close()
	}
}

// reopen opens the file again if it isn't the one at path any more. The caller holds a.mu.
func (a *audit) reopen() error {
	opened, err := a.file.Stat()
	if err != nil {
		return err
	}
	if info, err := os.Stat(a.path); err == nil && os.SameFile(info, opened) {
		return nil
	}
	f, err := openAppending(a.path)
	if err != nil {
		return err
	}
	_ = a.file.Close() // the system has all that was written
	a.file = f
	return nil
}

// auditLine is a line of the file. Fields that don't apply are left out.
type auditLine struct {
	Time     time.Time `json:"time"` // of the end
	Kind     string    `json:"kind"` // session, stream, hop or refusal
	Role     string    `json:"role,omitempty"`
	Name     string    `json:"name,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Remote   string    `json:"remote"`
	Via      string    `json:"via,omitempty"`
	Relay    string    `json:"relay,omitempty"` // this one
	Rule     string    `json:"rule,omitempty"`  // of the policy
	Key      string    `json:"key,omitempty"`   // the ID of the key that has signed the token
	TokenID  string    `json:"jti,omitempty"`
	Session  uint64    `json:"session,omitempty"`
	Worker   uint64    `json:"worker,omitempty"`
	Stream   uint32    `json:"stream,omitempty"`
	Up       int64     `json:"bytes_up"`
	Down     int64     `json:"bytes_down"`
	Refused  int64     `json:"streams_refused,omitempty"`
	Seconds  float64   `json:"seconds"`
	Code     int       `json:"code,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	LeftOut  int       `json:"left_out,omitempty"`
}

// write appends the record of the relay with the ID.
func (a *audit) write(id string, r *relay.Record) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	ok, leftOut := a.allow(r)
	if !ok {
		return
	}
	role := map[relay.Role]string{relay.Serve: "serve", relay.Dial: "dial"}[r.Role]
	text, err := json.Marshal(auditLine{
		Time: r.End.UTC(), Kind: r.Kind, Role: role, Name: r.Name, Instance: r.Instance, Subject: r.Subject, Remote: r.Remote, Via: r.Via,
		Relay: id, Rule: r.Rule, Key: r.KeyID, TokenID: r.TokenID,
		Session: r.Session, Worker: r.Worker, Stream: r.Stream, Up: r.Up, Down: r.Down, Refused: r.Refused,
		Seconds: r.End.Sub(r.Begin).Seconds(), Code: r.Code, Reason: r.Reason, LeftOut: leftOut,
	})
	if err == nil {
		err = a.reopen()
	}
	if err == nil {
		_, err = a.file.WriteString(escape.Text(string(text)) + "\n") // one write: whole lines
	}
	if err != nil && !a.failed {
		a.logger.Error("audit: records are lost", slog.Any("err", pathCause(err)))
	}
	a.failed = err != nil
}

// allow reports whether to write the record, and how many were left out before. The caller
// holds a.mu.
func (a *audit) allow(r *relay.Record) (ok bool, leftOut int) {
	if r.Kind != "refusal" || r.Subject != "" {
		return true, 0
	}
	if r.End.Sub(a.begin) >= unknownPeriod {
		a.begin, a.unknown = r.End, 0
	}
	if a.unknown == maxUnknown {
		a.leftOut++
		return false, 0
	}
	a.unknown++
	leftOut, a.leftOut = a.leftOut, 0
	return true, leftOut
}
