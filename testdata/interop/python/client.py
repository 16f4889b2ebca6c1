"""python3 client.py ADDR CASE… calls the demo service at ADDR. For each CASE
it prints "ok CASE", or "failed CASE" and the reason."""

import queue
import re
import sys
import uuid

import grpc

import hub

CALL_TIMEOUT = 20  # seconds
BIG = 20 << 20
ECHOED = bytes([0, 1, 254, 255])


class Client:
    """Client has a method for each method of the service."""

    def __init__(self, channel):
        streams = hub.streams()
        for name, _, request, response in hub.methods():
            kind = "_".join("stream" if s else "unary" for s in streams[name])
            call = getattr(channel, kind)(
                f"/{hub.SERVICE}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            setattr(self, name, call)
            setattr(self, name + "Request", request)


class Echo:
    """Echo is one call of the method Echo."""

    def __init__(self, client, **kwargs):
        self.request, self.requests = client.EchoRequest, queue.SimpleQueue()
        self.call = client.Echo(iter(self.requests.get, None), timeout=CALL_TIMEOUT, **kwargs)

    def send(self, text, end=False):
        self.requests.put(self.request(text=text, end=end))
        return next(self.call)

    def end(self):
        self.requests.put(None)
        self.ended()

    def ended(self):
        assert next(self.call, None) is None
        assert self.call.code() == grpc.StatusCode.OK, self.call.code()


def failure(call):
    try:
        call()
    except grpc.RpcError as err:
        return err
    raise AssertionError("no error")


def unary(client):
    name = str(uuid.uuid4())
    key = client.CreateKey(client.CreateKeyRequest(name=name), timeout=CALL_TIMEOUT)
    assert key.name == name and re.fullmatch("[0-9a-f]{32}", key.secret), key
    client.DeleteKey(client.DeleteKeyRequest(name=name), timeout=CALL_TIMEOUT)


def details(client):
    name = f"schlüssel {uuid.uuid4()}"
    err = failure(lambda: client.DeleteKey(client.DeleteKeyRequest(name=name), timeout=CALL_TIMEOUT))
    assert err.code() == grpc.StatusCode.NOT_FOUND, err
    trailer = dict(err.trailing_metadata())
    status = hub.message("google.rpc.Status").FromString(trailer["grpc-status-details-bin"])
    assert (status.code, status.message) == (err.code().value[0], err.details()), status
    info = hub.message("google.rpc.ResourceInfo")()
    assert status.details[0].Unpack(info), status
    assert info.resource_name == name, info


def client_stream(client):
    values = (client.SumRequest(value=n) for n in range(1, 1001))
    response = client.Sum(values, timeout=CALL_TIMEOUT)
    assert (response.sum, response.count) == (500500, 1000), response


def server_stream(client):
    request = client.WatchKeysRequest(max_events=3)
    request.tick.FromMilliseconds(10)
    events = [e.WhichOneof("event") for e in client.WatchKeys(request, timeout=CALL_TIMEOUT)]
    assert events == ["snapshot", "tick", "tick", "tick"], events


def bidi_stream(client):
    echo = Echo(client)
    for count in range(1, 101):
        response = echo.send(f"{count} ✓")
        assert (response.text, response.count) == (f"{count} ✓", count), response
    echo.end()


def early_end(client):
    """The server ends a call while the client's side is still open."""
    echo = Echo(client)
    echo.send("on")
    echo.send("off", end=True)
    echo.ended()
    echo.requests.put(None)  # ends the thread that reads the queue


def large(client):
    echo = Echo(client)
    text = "0123456789abcdef" * (BIG // 16)
    assert echo.send(text).text == text
    echo.end()


def deadline(client):
    request = client.SleepRequest()
    request.duration.FromSeconds(30)
    err = failure(lambda: client.Sleep(request, timeout=2))  # long enough for the server to receive the call
    assert err.code() == grpc.StatusCode.DEADLINE_EXCEEDED, err


def cancel(client):
    call = client.WatchKeys(client.WatchKeysRequest(), timeout=CALL_TIMEOUT)
    next(call)
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED, call.code()


def gzip(client):
    echo = Echo(client, compression=grpc.Compression.Gzip)
    text = "small when compressed " * 1000
    assert echo.send(text).text == text
    echo.end()


def metadata(client):
    """The interop servers echo x-echo and x-echo-bin as headers and as trailers."""
    want = [("x-echo", "one"), ("x-echo", "two"), ("x-echo-bin", ECHOED)]
    echo = Echo(client, metadata=want)
    echo.send("hello")
    echo.end()
    for got in echo.call.initial_metadata(), echo.call.trailing_metadata():
        # Entries with different names have no order, and values may have been joined.
        assert [(k, v) for k, v in got if k == "x-echo-bin"] == want[2:], got
        assert ", ".join(v for k, v in got if k == "x-echo") == "one, two", got


def main(address, *names):
    with grpc.insecure_channel(address, options=hub.OPTIONS) as channel:
        client = Client(channel)
        for name in names:
            try:
                globals()[name](client)
                print("ok", name, flush=True)
            except (AssertionError, grpc.RpcError, StopIteration) as err:
                print(f"failed {name}:", " ".join(repr(err).split())[:300], flush=True)


main(*sys.argv[1:])
