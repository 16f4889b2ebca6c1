package reflection

import (
	"context"

	"google.golang.org/protobuf/types/descriptorpb"
)

// FromFiles returns the Set of files, with all services that they define. It omits files
// that it can't use. Only the files of protobuf and gRPC (google/protobuf/, google/rpc/)
// may be missing. The error is the end of ctx.
func FromFiles(ctx context.Context, files *descriptorpb.FileDescriptorSet) (*Set, error) {
	b := newBuilder()
	for _, fdp := range files.GetFile() {
		b.add(fdp)
	}
	return b.build(ctx, nil)
}
