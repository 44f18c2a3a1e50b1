"""Everything that can change the model: pure modules, and the stages that use them."""

import signal
import sys

# Ctrl-C ends a stage as it ends any program: no traceback, not even while it imports.
if sys.argv[:1] == ["-m"]:  # python -m pipeline.STAGE, not one who only imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)
