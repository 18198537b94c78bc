"""deny.py NUMBER[,NUMBER...] CMD...: runs CMD on a host that lacks these system calls (ENOSYS)."""
import ctypes
import os
import struct
import sys

numbers = [int(n) for n in sys.argv[1].split(",")]
code = [(0x20, 0, 0, 0)]  # the number of the call
code += [(0x15, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]  # equal: to the last line
code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | 38)]  # SECCOMP_RET_ALLOW, ERRNO | ENOSYS
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
    sys.exit(f"deny.py: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[2], sys.argv[2:])
