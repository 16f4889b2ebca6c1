package backend

import (
	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/mux"
)

// limitFlags returns the flags that limit the memory for peers.
func (o *Options) limitFlags() []cli.Flag {
	l := &o.Limits
	return []cli.Flag{
		usage.Size(&l.SessionMemory, "max-session-memory", "hold at most `SIZE` of messages for a session, in bytes, KiB, MiB or GiB; a message may have a quarter of it", limit.DefaultSessionMemory),
		usage.Size(&l.Memory, "max-memory", "hold at most `SIZE` of messages for all sessions, or, with --raw, of bytes that the upstream hasn't read; in a cgroup, half of its memory if that is less", limit.DefaultMemory),
		usage.Size(&l.HeaderList, "max-headers", "accept calls with at most `SIZE` of metadata", limit.DefaultHeaderList),
		usage.Size(&l.SessionHeaderLists, "max-session-headers", "accept calls with at most `SIZE` of metadata together, for a session", limit.DefaultSessionHeaderLists),
	}
}

// newLimits returns the limits of the flags.
func (o *Options) newLimits() (*limit.Process, error) {
	l := o.Limits
	const smallestMemory, smallestHeaders, largest = 1 << 20, 4 << 10, 1 << 40 // calls need some in any case
	for _, flag := range []struct {
		name            string
		value, smallest int64
	}{
		{"max-session-memory", l.SessionMemory, smallestMemory},
		{"max-memory", l.Memory, smallestMemory},
		{"max-headers", l.HeaderList, smallestHeaders},
		{"max-session-headers", l.SessionHeaderLists, smallestHeaders},
	} {
		if flag.value < flag.smallest || flag.value > largest {
			return nil, usage.Errorf("--%s %s: want %s to %s", flag.name, usage.FormatSize(flag.value), usage.FormatSize(flag.smallest), usage.FormatSize(largest))
		}
	}
	switch {
	case l.SessionMemory > l.Memory && o.Given.Set("max-session-memory"):
		return nil, usage.Errorf("--max-session-memory %s: larger than --max-memory %s", usage.FormatSize(l.SessionMemory), usage.FormatSize(l.Memory))
	case l.HeaderList > l.SessionHeaderLists && o.Given.Set("max-headers"):
		return nil, usage.Errorf("--max-headers %s: larger than --max-session-headers %s", usage.FormatSize(l.HeaderList), usage.FormatSize(l.SessionHeaderLists))
	}
	l.Memory = o.memory()
	return limit.New(&l), nil
}

// memory returns the value of --max-memory, or its default in this cgroup.
func (o *Options) memory() int64 {
	if o.Given.Set("max-memory") {
		return o.Limits.Memory
	}
	return defaultMemory()
}

// defaultMemory returns limit.DefaultMemory, or half of the cgroup's memory if that is less.
func defaultMemory() int64 {
	available, err := memlimit.FromCgroup()
	if err != nil {
		return limit.DefaultMemory
	}
	return int64(min(limit.DefaultMemory, available/2))
}

// minUnread is the least limit of unread bytes: the largest window of a stream.
const minUnread = 16 << 20

// UnreadLimit returns the limit of the bytes that nothing has read yet, for all sessions:
// --max-memory with --raw, and otherwise a quarter of it.
func (o *Options) UnreadLimit() *mux.UnreadLimit {
	memory := o.memory()
	if !o.Raw {
		memory /= 4
	}
	return mux.NewUnreadLimit(max(memory, minUnread))
}

// DefaultUnreadLimit returns the limit of the bytes that nothing has read yet, for all
// sessions of a process that decodes no calls.
func DefaultUnreadLimit() *mux.UnreadLimit {
	return mux.NewUnreadLimit(max(defaultMemory(), minUnread))
}
