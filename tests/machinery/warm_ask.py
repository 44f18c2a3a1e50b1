"""Has a module run by the process of `warm.py`, with the files of this one.

    python -IS warm_ask.py SOCKET PYTHON -m MODULE ...

It imports what is built in, and nothing else: it is started a thousand times.
"""

import _socket
import marshal
import os
import sys

data = marshal.dumps([os.getcwd(), sys.argv[2:], dict(os.environ)])
server = _socket.socket(_socket.AF_UNIX)
server.connect(sys.argv[1])
files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
server.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
code = int(server.recv(10) or b"1")
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
