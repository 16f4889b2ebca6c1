//go:build unix

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// oddStatus is the status of a call that another language's client reports.
type oddStatus struct {
	code    codes.Code
	message string
	details []string
}

// testOddResponses expects that a client of another language sees the same statuses
// of unusual responses through a tunnel as without one.
func testOddResponses(t *testing.T, client []string) {
	t.Helper()
	for _, r := range routes {
		t.Run("odd responses, "+r.name, func(t *testing.T) {
			t.Parallel()
			upstream := startDaemon(t, "oddserver").find(t, `^127\.0\.0\.1:\d+$`)
			direct, through := oddStatuses(t, client, upstream), oddStatuses(t, client, r.open(t, upstream))
			for _, want := range clientResponses() {
				d, got := direct[want.Name], through[want.Name]
				if got.code != d.code || !want.ByClient && got.message != d.message || !slices.Equal(got.details, d.details) {
					t.Errorf("%s: %v, without a tunnel %v", want.Name, got, d)
				}
			}
			// Clients choose the status of a call that a GOAWAY has ended, and so does a proxy.
			for _, method := range []string{"GoAway", "Reject"} {
				d, got := direct[method], through[method]
				if isProxied := !r.direct && r.serve == nil; !isProxied && got.code != d.code ||
					isProxied && (got.code != codes.Unavailable || !strings.Contains(got.message, tunneltest.TooManyPings)) {
					t.Errorf("%s: %v, without a tunnel %v", method, got, d)
				}
			}
		})
	}
}

// clientResponses returns the responses to test: all but one at which some versions of
// gRPC's C++ library abort.
func clientResponses() []tunneltest.OddResponse {
	return slices.DeleteFunc(tunneltest.OddResponses(), func(r tunneltest.OddResponse) bool { return r.Name == "NoStatus" })
}

// oddStatuses runs client, and returns the status of each method of an oddserver.
func oddStatuses(t *testing.T, client []string, addr string) map[string]oddStatus {
	t.Helper()
	args := append(slices.Clone(client[1:]), addr)
	for _, r := range clientResponses() {
		args = append(args, r.Name)
	}
	d := startDaemon(t, client[0], append(args, "GoAway", "Reject")...)
	if status, err := d.exitStatus(); status != 0 || err != nil {
		t.Fatalf("status %d, %v:\n%s", status, err, d)
	}
	statuses := make(map[string]oddStatus)
	for line := range strings.Lines(d.String()) {
		var s oddStatus
		method, array, ok := strings.Cut(line, "\t")
		if !ok {
			continue // of the client's log
		}
		if err := json.Unmarshal([]byte(array), &[]any{&s.code, &s.message, &s.details}); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		statuses[method] = s
	}
	return statuses
}
