"""The demo service and google.rpc's error details without generated code: the
messages come from a FileDescriptorSet, the path of which is in HUB_PROTOSET."""

import os

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "wstun.demo.v1.Hub"

# Above the 20 MiB that are sent, at both ends.
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
    """The class of a message with a full name."""
    return _class(_pool.FindMessageTypeByName(name))


def methods():
    """The service's methods: name, descriptor, request class, response class."""
    for m in _pool.FindServiceByName(SERVICE).methods:
        yield m.name, m, _class(m.input_type), _class(m.output_type)


def streams():
    """Which methods stream: name to (requests, responses). The descriptors say
    so in newer versions only."""
    proto = descriptor_pb2.FileDescriptorProto()
    _pool.FindServiceByName(SERVICE).file.CopyToProto(proto)
    return {m.name: (m.client_streaming, m.server_streaming) for m in proto.service[0].method}
