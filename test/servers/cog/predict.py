"""A Cog predictor over the iris measures. LOAD_DELAY (seconds) slows its setup, BAD makes it fail."""

import os
import time

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def setup(self) -> None:
        time.sleep(float(os.environ.get("LOAD_DELAY", "0")))
        if os.environ.get("BAD"):
            raise RuntimeError("the weights are broken")

    def predict(
        self,
        sl: float = Input(description="sepal length"),
        sw: float = Input(default=3.5),
        pl: float = Input(default=1.4),
        pw: float = Input(default=0.2),
    ) -> float:
        return 0.4 * sl + 0.9 * sw - 2.3 * pl - 1.0 * pw
