"""python3 server.py serves the demo service. It prints its address, and then the
method of each call that its client cancels."""

import threading
from concurrent import futures

import grpc

import hub

keys = {}
Key = hub.message("wstun.demo.v1.Key")
KeyEvent = hub.message("wstun.demo.v1.KeyEvent")
TemplateSnapshot = hub.message("wstun.demo.v1.TemplateSnapshot")
EchoResponse = hub.message("wstun.demo.v1.EchoResponse")
SumResponse = hub.message("wstun.demo.v1.SumResponse")
Empty = hub.message("google.protobuf.Empty")
Status = hub.message("google.rpc.Status")
ResourceInfo = hub.message("google.rpc.ResourceInfo")


def abort(context, code, name, text):
    """Ends a call with google.rpc.ResourceInfo as its detail."""
    status = Status(code=code.value[0], message=text)
    status.details.add().Pack(ResourceInfo(resource_type="key", resource_name=name))
    context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
    context.abort(code, text)


def CreateKey(request, context):
    name = request.name
    if name in keys:
        abort(context, grpc.StatusCode.ALREADY_EXISTS, name, f'key "{name}" already exists')
    keys[name] = Key(name=name)
    keys[name].create_time.GetCurrentTime()
    key = Key(secret="0123456789abcdef" * 2)
    key.MergeFrom(keys[name])
    return key


def DeleteKey(request, context):
    if keys.pop(request.name, None) is None:
        abort(context, grpc.StatusCode.NOT_FOUND, request.name, f'key "{request.name}" does not exist')
    return Empty()


def GetTemplates(request, context):
    snapshot = TemplateSnapshot()
    snapshot.templates.add(name="one", body="two")
    return snapshot


class CallWatcher:
    """CallWatcher lets a call wait for its end, and prints if the client cancelled it."""

    def __init__(self, method, context):
        self.method, self.done, self.finished = method, threading.Event(), False
        if not context.add_callback(self.ended):
            self.ended()

    def ended(self):
        self.done.set()
        if not self.finished:
            print("given up:", self.method, flush=True)


def WatchKeys(request, context):
    watcher = CallWatcher("WatchKeys", context)
    snapshot = KeyEvent()
    snapshot.snapshot.keys.extend(keys.values())
    yield snapshot
    sent = 0
    tick = request.tick.ToMilliseconds() / 1000 if request.HasField("tick") else None
    while request.max_events == 0 or sent < request.max_events:
        if watcher.done.wait(tick):
            return
        event = KeyEvent()
        event.tick.GetCurrentTime()
        sent += 1
        watcher.finished = sent == request.max_events
        yield event


def Echo(requests, context):
    echoed = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-echo")]
    context.send_initial_metadata(echoed)
    context.set_trailing_metadata(echoed)
    for count, request in enumerate(requests, 1):
        yield EchoResponse(text=request.text, count=count)
        if request.end:
            return


def Sum(requests, context):
    response = SumResponse()
    for request in requests:
        response.sum += request.value
        response.count += 1
    return response


def Sleep(request, context):
    watcher = CallWatcher("Sleep", context)
    watcher.finished = not watcher.done.wait(request.duration.ToMilliseconds() / 1000)
    return Empty()


def handlers():
    streams = hub.streams()
    for name, _, request, response in hub.methods():
        kind = "_".join("stream" if s else "unary" for s in streams[name])
        make = getattr(grpc, kind + "_rpc_method_handler")
        yield name, make(globals()[name], request.FromString, response.SerializeToString)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(16), options=hub.OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(hub.SERVICE, dict(handlers()))])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


main()
