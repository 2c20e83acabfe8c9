"""The part of Lambda's Python runtime that a handler needs, as a bootstrap of its own."""

import importlib
import json
import os
import sys
import urllib.request

API = f'http://{os.environ["AWS_LAMBDA_RUNTIME_API"]}/2018-06-01/runtime'


def post(path, value):
    data = json.dumps(value).encode()
    urllib.request.urlopen(urllib.request.Request(f"{API}/{path}", data=data)).read()


def failure(error):
    return {"errorType": type(error).__name__, "errorMessage": str(error)}


sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
module, _, name = os.environ["_HANDLER"].partition(".")
try:
    handler = getattr(importlib.import_module(module), name)
except Exception as error:
    post("init/error", failure(error))
    raise

while True:
    event = urllib.request.urlopen(f"{API}/invocation/next")
    request = event.headers["Lambda-Runtime-Aws-Request-Id"]
    try:
        answer = handler(json.loads(event.read()), None)
    except Exception as error:
        post(f"invocation/{request}/error", failure(error))
    else:
        post(f"invocation/{request}/response", answer)
