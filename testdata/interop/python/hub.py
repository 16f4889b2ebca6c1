"""The demo service and google.rpc's error details without generated code: the
messages are those of the FileDescriptorSet whose path is in HUB_PROTOSET."""

import os

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "wstun.demo.v1.Hub"

# The limit of both ends, above the 20 MiB that the tests send.
OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
]

_pool = descriptor_pool.DescriptorPool()
with open(os.environ["HUB_PROTOSET"], "rb") as f:
    for _file in descriptor_pb2.FileDescriptorSet.FromString(f.read()).file:
        _pool.Add(_file)

if hasattr(message_factory, "GetMessageClass"):
    _class = message_factory.GetMessageClass
else:  # before protobuf 4.22
    _class = message_factory.MessageFactory(_pool).GetPrototype


def message(name):
    """Returns the class of the message with a full name."""
    return _class(_pool.FindMessageTypeByName(name))


def methods():
    """Yields each method: name, descriptor, request class, response class."""
    for m in _pool.FindServiceByName(SERVICE).methods:
        yield m.name, m, _class(m.input_type), _class(m.output_type)


def streams():
    """Maps each method to two booleans: requests stream, responses stream. Method
    descriptors have these only in newer versions of protobuf."""
    proto = descriptor_pb2.FileDescriptorProto()
    _pool.FindServiceByName(SERVICE).file.CopyToProto(proto)
    return {m.name: (m.client_streaming, m.server_streaming) for m in proto.service[0].method}
