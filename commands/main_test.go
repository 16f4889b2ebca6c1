package commands

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("WSTUN_CONFIG", "none") // not the user's
	goleak.VerifyTestMain(m, tunneltest.LingeringHTTP())
}
