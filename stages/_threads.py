"""Imported first by stages that use torch: their results depend on the number of threads."""

from _stage import PARAMS, fail
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import load
from pyramid_reid.core.runtime import pin_environment

try:
    pin_environment(load(PARAMS).threads)
except UserError as error:
    fail(str(error), 1)
