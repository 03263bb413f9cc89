"""The one exception that a user is meant to read, and those that it is made of."""

import struct
import tokenize
import zipfile
import zlib

DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy, pandas, Pillow and torch raise for files that are missing, damaged or hostile."""
LONGEST = 200
"""Characters of what another library says of an error."""


class UserError(Exception):
    """Something outside the code is wrong: data, params or machine.

    The message is one sentence or two that name the offender and the remedy. Stages print it
    without a traceback.
    """


def reason(error: BaseException) -> str:
    """What an error of another library says, in one line of bounded length."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
