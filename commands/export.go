package commands

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
)

// exportOptions are the values of the flags that write descriptors to files.
type exportOptions struct{ protoDir, protoset string }

// flags returns the flags for subject, such as "the method and its".
func (o *exportOptions) flags(subject string) []cli.Flag {
	return []cli.Flag{
		usage.Path(&o.protoDir, "proto-out-dir", "write "+subject+" dependencies as .proto files to the folder `DIR`"),
		usage.Path(&o.protoset, "protoset-out", "write "+subject+" dependencies as a compiled set to `FILE`"),
	}
}

// write writes symbols to the files of the flags.
func (o *exportOptions) write(symbols []protoreflect.Descriptor) error {
	if o.protoset != "" {
		file, err := os.Create(o.protoset)
		if err != nil {
			return fmt.Errorf("--protoset-out: %w", err)
		}
		err = reflection.WriteProtoset(file, symbols...)
		if cerr := file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("--protoset-out %s: %w", o.protoset, err)
		}
	}
	if o.protoDir != "" {
		if err := reflection.WriteProtos(o.protoDir, symbols...); err != nil {
			return fmt.Errorf("--proto-out-dir %s: %w", o.protoDir, err)
		}
	}
	return nil
}
