package commands

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wstun")
	if err != nil {
		panic(err) //nolint:forbidigo // there is no test yet
	}
	_ = os.Setenv("WSTUN_CONFIG", "none")                              // not the user's
	_ = os.Setenv(admin.FolderVariable, filepath.Join(dir, "control")) // nor the user's processes
	goleak.VerifyTestMain(m, tunneltest.LingeringHTTP(), goleak.Cleanup(func(status int) {
		_ = os.RemoveAll(dir)
		os.Exit(status) //nolint:forbidigo // as goleak does
	}))
}
