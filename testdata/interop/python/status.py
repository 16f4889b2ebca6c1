"""python3 status.py ADDR METHOD… calls each method with an empty message. For each
it prints its name, and a tab and a JSON array: the code, the message, and the details
that belong to the code."""

import json
import sys

import grpc

import hub


def call(channel, method):
    try:
        channel.unary_unary(f"/odd.S/{method}")(b"", timeout=20)
    except grpc.RpcError as err:
        code, details = err.code().value[0], []
        for key, value in err.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = hub.message("google.rpc.Status").FromString(value)
                if status.code == code:
                    details += [d.type_url for d in status.details]
        return code, err.details(), details
    return 0, "", []


def main(address, *methods):
    with grpc.insecure_channel(address, options=hub.OPTIONS) as channel:
        for method in methods:
            print(method, json.dumps(call(channel, method)), sep="\t", flush=True)


main(*sys.argv[1:])
