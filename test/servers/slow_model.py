"""An MLServer runtime whose load takes LOAD_DELAY seconds and which answers the sum of its input."""

import asyncio
import os

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class SlowModel(MLModel):
    async def load(self) -> bool:
        await asyncio.sleep(float(os.environ.get("LOAD_DELAY", "0")))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        total = NumpyCodec.decode_input(payload.inputs[0]).sum(keepdims=True).reshape(1)
        return InferenceResponse(
            model_name=self.name, id=payload.id, outputs=[NumpyCodec.encode_output("sum", total)]
        )
