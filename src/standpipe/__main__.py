"""`python -m standpipe`: the same as the command `standpipe`."""

from __future__ import annotations

import sys

from standpipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
