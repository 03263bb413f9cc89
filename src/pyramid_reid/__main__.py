"""`python -m pyramid_reid`: the command line."""

from pyramid_reid.cli import main

raise SystemExit(main())
