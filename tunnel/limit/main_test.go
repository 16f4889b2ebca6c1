package limit

import (
	"compress/flate"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/encoding/gzip"
)

func TestMain(m *testing.M) {
	_ = gzip.SetLevel(flate.BestSpeed) // the race detector makes compression slow
	goleak.VerifyTestMain(m)
}
