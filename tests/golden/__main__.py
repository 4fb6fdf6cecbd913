"""`python -m tests.golden DIR`."""

import sys

from tests import golden

if __name__ == '__main__':
  sys.exit(golden.main(sys.argv[1:]))
