"""The one error that bad input raises.

The command line prints an :class:`InputError` as it is and exits with status 2; a traceback is
reserved for mistakes of our own.
"""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the thing (file, line, option, batch item) and says what to do about it.
    """
