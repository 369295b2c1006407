"""`python -m sam2_plugins COMMAND …`: the command line where its script is not on the path."""

import sys

from sam2_plugins.cli import main

if __name__ == "__main__":
    sys.exit(main())
