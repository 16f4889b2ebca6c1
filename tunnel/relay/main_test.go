package relay

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, tunneltest.LingeringHTTP()) }
