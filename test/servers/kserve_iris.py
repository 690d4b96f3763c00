"""KServe SDK servers of the tests: kserve_iris.py <port> <model.joblib | cold | trivial>.

`cold` is registered and never ready; `trivial` answers twice the row sums, for benches.
"""

import sys

import joblib
import kserve.protocol.rest.server as rest
import numpy
from kserve import InferOutput, InferResponse, Model, ModelServer

port, kind = int(sys.argv[1]), sys.argv[2]

# The SDK listens on every interface and offers no setting for it.
Config = rest.uvicorn.Config
rest.uvicorn.Config = lambda *args, **options: Config(*args, **{**options, "host": "127.0.0.1"})


class Served(Model):
    def answer(self, payload, name, values):
        output = InferOutput(name, list(values.shape), "FP64" if values.dtype.kind == "f" else "INT64")
        output.set_data_from_numpy(values, binary_data=False)
        return InferResponse(payload.id or "none", self.name, [output])


class Iris(Served):
    def load(self):
        self.classifier = joblib.load(kind)
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, dict):
            return {"predictions": self.classifier.predict(payload["instances"]).tolist()}
        rows = payload.inputs[0].as_numpy()
        return self.answer(payload, "predict", self.classifier.predict(rows).astype(numpy.int64))


class Trivial(Served):
    def load(self):
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        rows = payload.inputs[0].as_numpy()
        return self.answer(payload, "output0", rows.sum(axis=1).astype(numpy.float64) * 2)


class Cold(Model):
    """Ready while it is registered, which a model must be, and not any more when the server asks."""

    def load(self):
        self.ready = True
        return True

    def start(self):
        self.ready = False

    async def healthy(self):
        return False


model = {"cold": Cold, "trivial": Trivial}.get(kind, Iris)(kind if kind in ("cold", "trivial") else "iris")
model.load()
ModelServer(http_port=port, enable_grpc=False, workers=1).start([model])
