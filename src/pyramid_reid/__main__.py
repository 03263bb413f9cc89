"""`python -m pyramid_reid`: the command line."""

import sys

from pyramid_reid.cli import main

if __name__ == "__main__":
    sys.exit(main())
