"""A Lambda function in Python that sends customers vouchers: it enqueues a task by invoking the enqueue function."""

import json
import os

import boto3

lambda_client = boto3.client("lambda")


class Refused(Exception):
    """The enqueue function says what is wrong with the request: sending it again as it is does not help."""


def ask(request):
    """Asks the enqueue function and returns its answer."""
    reply = lambda_client.invoke(
        FunctionName=os.environ["ENQUEUE_FUNCTION"],
        Payload=json.dumps(request).encode(),
    )
    answer = json.loads(reply["Payload"].read())
    if "FunctionError" in reply:
        # The table did not answer, for one. Lambda tries an event again that fails; the key makes that harmless.
        raise RuntimeError(answer.get("errorMessage", answer))
    if "error" in answer:
        raise Refused(f'{answer["error"]["code"]}: {answer["error"]["message"]}')
    return answer


def handler(event, context):
    """Enqueues a voucher for event["customer"], once for each campaign however often the event comes."""
    return ask(
        {
            "action": "enqueue",
            "task": "send_voucher",
            "key": f'voucher of {event["customer"]}, {event["campaign"]}',
            "input": {"customer": event["customer"], "cents": event["cents"]},
        }
    )
