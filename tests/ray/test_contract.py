"""What every launcher promises to the monitor (tests/process/test_launchers.py), on a Ray cluster.

The tests are those of the other launchers, with the fixture ``told`` of this folder.
"""

from __future__ import annotations

from tests.process import test_launchers as contract
from tests.process.test_launchers import obeying

__all__ = ["obeying"]

globals().update({name: each for name, each in vars(contract).items() if name.startswith("test_")})
