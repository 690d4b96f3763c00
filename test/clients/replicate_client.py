"""Uses Replicate's own client, only its base URL and token changed, and prints what it saw as one JSON object."""
import asyncio
import json
import sys

import replicate
from replicate.exceptions import ModelError, ReplicateError

client = replicate.Client(api_token="anything", base_url=sys.argv[1])
client.poll_interval = 0.05
model = "acme/cat"


def asked(**scenario):
    return {"prompt": "a cat", "twin": scenario}


def failure(call):
    try:
        call()
    except ModelError as error:
        return {"status": error.prediction.status, "error": error.prediction.error}
    except ReplicateError as error:
        return {"status": error.status, "detail": error.detail}
    except RuntimeError as error:
        return json.loads(str(error))


def text(events):
    return "".join(str(event) for event in events)


def canceled():
    prediction = client.models.predictions.create(model, input=asked(end="never"))
    while prediction.status != "processing":
        prediction.reload()
    prediction.cancel()
    first = prediction.status
    return [first, client.predictions.cancel(prediction.id).status, client.predictions.get(prediction.id).status]


def aborted():
    prediction = client.models.predictions.create(model, input=asked(queueMs=60_000, replace={"status": "aborted"}))
    prediction.wait()
    return [prediction.status, prediction.error]


def waited():
    prediction = client.models.predictions.create(model, input=asked(output=[1, 2], runMs=300))
    before = prediction.status
    prediction.wait()
    return [before, prediction.status, prediction.output]


def pages():
    found = [[prediction.id for prediction in page] for page in replicate.pagination.paginate(client.predictions.list)]
    ids = [id for page in found for id in page]
    return {"sizes": [len(page) for page in found], "ids": len(set(ids))}


async def asynchronous():
    output = await client.async_run(model, input=asked(output="later"))
    pieces = [str(event) async for event in await client.async_stream(model, asked(chunks=["x", "y"]))]
    return [output, "".join(pieces)]


seen = {
    "run": client.run(model, input=asked(output={"n": 1})),
    "run_of_a_version": client.run(f"{model}:v1", input=asked(output="of a version")),
    "run_polling": client.run(model, input=asked(output=[1.5]), wait=False),
    "run_longer_than_its_wait": client.run(model, input=asked(output="slow", runMs=2_500), wait=1),
    "run_that_fails": failure(lambda: client.run(model, input=asked(end="failed", error="out of memory"))),
    "wait": waited(),
    "cancel": canceled(),
    "aborted": aborted(),
    "stream": text(client.stream(model, input=asked(chunks=["Hel", "lo\n", "you"]))),
    "stream_that_fails": failure(lambda: text(client.stream(model, input=asked(end="failed", error="no memory")))),
    "unknown": failure(lambda: client.predictions.get("nobody")),
    "pages": pages(),
    "async": asyncio.run(asynchronous()),
}
print(json.dumps(seen))
