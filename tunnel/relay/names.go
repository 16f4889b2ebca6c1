package relay

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxName is the length of the longest name of a Worker: that of a DNS label.
const MaxName = 63

const workerPath = "/v1/worker/"

// Path returns the path of a Worker at a relay with this base.
func Path(base, name string) string { return base + workerPath + name }

// CheckName returns an error unless name is valid: 1 to 63 letters a to z, digits and
// hyphens, with no hyphen at either end. Such a name is also a DNS label and a token of a
// NATS subject, and needs no percent-encoding.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName || name[0] == '-' || name[len(name)-1] == '-' ||
		strings.ContainsFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }) {
		return errors.New("not a name: want 1 to 63 of a-z, 0-9 and -, with no - at either end")
	}
	return nil
}

// parsePath returns the name in an escaped path.
func parsePath(path, base string) (string, error) {
	name, ok := strings.CutPrefix(path, base+workerPath)
	if !ok {
		return "", refuse(http.StatusNotFound, "nothing here: a relay's path is %s", Path(base, "NAME"))
	}
	if err := CheckName(name); err != nil {
		return "", refuse(http.StatusBadRequest, "%.100q: %w", name, err)
	}
	return name, nil
}

// CheckInstance returns an error unless instance is that of a Worker: 32 hexadecimal digits
// in lower case.
func CheckInstance(instance string) error {
	const digits = 32 // 128 bits
	if len(instance) != digits || strings.ContainsFunc(instance, func(c rune) bool { return !strings.ContainsRune("0123456789abcdef", c) }) {
		return errors.New("want 32 hexadecimal digits in lower case")
	}
	return nil
}

// parseInstance returns the instance in the values of InstanceHeader, "" if there is none.
func parseInstance(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	if err := CheckInstance(values[0]); err != nil || len(values) > 1 {
		return "", refuse(http.StatusBadRequest, "%s: want 32 hexadecimal digits in lower case", InstanceHeader)
	}
	return values[0], nil
}

// parseSeq returns the number in a value of SeqHeader, 0 if that is empty.
func parseSeq(value string) (uint64, error) {
	if value == "" {
		return 0, nil
	}
	seq, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "%s: want a number", SeqHeader)
	}
	return seq, nil
}

// maxAhead is how far the clocks of relays may differ.
const maxAhead = time.Hour

// parseSince returns the time in a value of SinceHeader, in ns since 1970: now if it is empty,
// or too late to be that of any relay.
func parseSince(value string, now time.Time) (time.Time, error) {
	if value == "" {
		return now, nil
	}
	ns, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ns <= 0 {
		return now, refuse(http.StatusBadRequest, "%s: want a time in ns", SinceHeader)
	}
	since := time.Unix(0, ns)
	if since.After(now.Add(maxAhead)) {
		return now, nil
	}
	return since, nil
}
