"""A real language model for demos and tests, small enough for any machine: extra `[local-model]`.

`smollm2` gives the options of an agent that runs SmolLM2-135M-Instruct in its own process, with no
key and no service; `smollm2_file` is where its weights are, downloaded on first use.
"""

from procorch.models.local import smollm2
from procorch.models.store import smollm2_file

__all__ = ["smollm2", "smollm2_file"]
