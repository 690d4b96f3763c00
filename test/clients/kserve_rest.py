"""Asks a model server through KServe's own InferenceRESTClient and prints what it understood as one JSON object."""
import asyncio
import json
import sys

import numpy as np
from httpx import HTTPStatusError
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url = sys.argv[1]


async def error(call):
    try:
        await call
    except HTTPStatusError as failure:
        return [failure.response.status_code, failure.response.json()["error"]]


async def main():
    v2 = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=30))
    tensor = InferInput("input0", [2, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2], [3, 4]], dtype=np.float32), binary_data=False)
    packed = InferInput("input0", [2, 2], "FP32")
    packed.set_data_from_numpy(np.array([[1, 2], [3, 4]], dtype=np.float32), binary_data=True)
    seen = {
        "live": await v2.is_server_live(url),
        "ready": await v2.is_server_ready(url),
        "model_ready": await v2.is_model_ready(url, "dbl"),
        "outputs": [],
    }
    for sent in (tensor, packed):
        answer = await v2.infer(url, InferRequest(model_name="dbl", infer_inputs=[sent], request_id="k1"), model_name="dbl")
        seen["outputs"].append([answer.id, answer.model_name, answer.outputs[0].as_numpy().tolist()])
    seen["integers"] = []
    for binary in (False, True):
        big = InferInput("x", [2], "INT64")
        big.set_data_from_numpy(np.array([2**53 + 1, -(2**63)], dtype=np.int64), binary_data=binary)
        answer = await v2.infer(url, InferRequest(model_name="same", infer_inputs=[big]), model_name="same")
        seen["integers"].append([str(value) for value in answer.outputs[0].as_numpy().tolist()])
    row = {"name": "input0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    seen["missing"] = await error(v2.infer(url, {"inputs": [row]}, model_name="nope"))
    seen["shape"] = await error(v2.infer(url, {"inputs": [{**row, "shape": [3, 2]}]}, model_name="dbl"))
    seen["boom"] = await error(v2.infer(url, {"inputs": [row], "parameters": {"boom": True}}, model_name="dbl"))
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", retries=0, timeout=30))
    seen["predictions"] = await v1.infer(url, {"instances": [[1, 2], [3, 4]]}, model_name="p1")
    seen["explanations"] = await v1.explain(url, "p1", {"instances": [[1, 2]]})
    seen["v1_ready"] = await v1.is_model_ready(url, "p1")
    print(json.dumps(seen))


asyncio.run(main())
