package inspect

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/tunneltest/browser"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(browser.Tests{M: m}, tunneltest.LingeringHTTP()) }
