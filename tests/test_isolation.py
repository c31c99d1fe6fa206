"""What one test does to the process does not reach the next one (conftest.py at the top)."""

from __future__ import annotations

import os
from copy import deepcopy

AT_FIRST = os.environ


def test_a_library_puts_a_copy_in_the_place_of_the_environment() -> None:
    os.environ = deepcopy(os.environ)  # noqa: B003 as datasets does when it maps with several processes


def test_the_environment_is_the_object_of_before() -> None:
    assert os.environ is AT_FIRST
