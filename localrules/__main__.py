"""``python -m localrules`` is the command ``localrules``."""

import sys

from localrules.cli import main

sys.exit(main())
