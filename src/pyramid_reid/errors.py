"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something outside the code is wrong: data, params or machine.

    The message is one sentence or two that name the offender and the remedy. Stages print it
    without a traceback.
    """
