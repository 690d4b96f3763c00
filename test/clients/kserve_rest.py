"""Asks a model server through KServe's own InferenceRESTClient and prints what it understood as one JSON object."""
import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url = sys.argv[1]


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
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", retries=0, timeout=30))
    seen["predictions"] = await v1.infer(url, {"instances": [[1, 2], [3, 4]]}, model_name="p1")
    seen["explanations"] = await v1.explain(url, "p1", {"instances": [[1, 2]]})
    seen["v1_ready"] = await v1.is_model_ready(url, "p1")
    print(json.dumps(seen))


asyncio.run(main())
