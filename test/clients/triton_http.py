"""Asks a model server everything tritonclient[http] can ask it, and prints what it understood as one JSON object."""
import json
import sys

import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1], concurrency=4)
rows = np.array([[1, 2], [3, 4]], dtype=np.float32)


def infer(model, binary_in, binary_out, values=rows, datatype="FP32", name="input0", output="output0", **options):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary_in)
    asked = triton.InferRequestedOutput(output, binary_data=binary_out)
    return client.infer(model, [tensor], outputs=[asked], request_id="q1", **options)


def error(call):
    try:
        call()
    except triton.InferenceServerException as failure:
        return [failure.status(), failure.message()]


integers = np.array([2**53 + 1, -(2**63)], dtype=np.int64)
every = {
    "BOOL": np.array([True, False]),
    "INT8": np.array([-128, 127], np.int8),
    "UINT16": np.array([0, 65535], np.uint16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "UINT64": np.array([2**64 - 1, 0], np.uint64),
    "FP16": np.array([0.1, 65504], np.float16),
    "FP32": np.array([0.1, 3.4028235e38], np.float32),
    "FP64": np.array([0.1, 5e-324], np.float64),
}


def lost():
    """What does not come back as it was sent. FP16 goes out in the binary form only: the client has no other."""
    return [
        [datatype, i, o]
        for datatype, values in every.items()
        for i in ((True,) if datatype == "FP16" else (True, False))
        for o in (True, False)
        if not (infer("same", i, o, values, datatype, "x", "x").as_numpy("x") == values).all()
    ]


texts = np.array(["grüße".encode(), b"\x00\xff"], dtype=np.object_)
seen = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready("dbl"),
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata("dbl"),
    "forms": [infer("dbl", i, o).as_numpy("output0").tolist() for i in (True, False) for o in (True, False)],
    "id": infer("dbl", True, True).get_response()["id"],
    "integers": [
        [str(n) for n in infer("same", i, o, integers, "INT64", "x", "x").as_numpy("x")]
        for i in (True, False)
        for o in (True, False)
    ],
    "bytes": [value.hex() for value in infer("same", True, True, texts, "BYTES", "x", "x").as_numpy("x")],
    "lost": lost(),
    "boom": error(lambda: infer("dbl", True, True, parameters={"boom": True})),
    "nan": error(lambda: infer("same", True, False, np.array([np.nan], np.float32), "FP32", "x", "x")),
    "gzip": infer("dbl", True, True, request_compression_algorithm="gzip").as_numpy("output0").tolist(),
    "missing": error(lambda: infer("nope", True, True)),
    "unknown_output": error(lambda: infer("dbl", True, True, output="zzz")),
}
client.unload_model("same")
seen["unloaded"] = client.get_model_repository_index()
client.load_model("same")
seen["loaded"] = client.get_model_repository_index()
print(json.dumps(seen))
