"""``python -m procorch``: the command line."""

from __future__ import annotations

import sys

# `-m` puts the working directory first. A file of the user there, such as `queue.py`, would be
# imported in place of a module that the command needs.
if not sys.flags.safe_path:
    del sys.path[0]

from procorch.cli.main import main

sys.exit(main())
