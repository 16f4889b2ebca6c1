package limit

import (
	"compress/flate"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/encoding/gzip"
)

func TestMain(m *testing.M) {
	if err := gzip.SetLevel(flate.BestSpeed); err != nil { // the race detector makes compression slow
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
