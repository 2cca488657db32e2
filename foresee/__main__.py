"""`python -m foresee`: the same as the `foresee` script, of the checkout one stands in."""

import sys

from foresee.cli import main

sys.exit(main())
