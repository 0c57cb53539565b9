"""Which language loses most."""

from __future__ import annotations

import pytest

from xpet.core.gates import largest_drop


def test_the_largest_drop_is_over_the_names_of_both() -> None:
    before = {"en": 90.0, "de": 40.0, "ja": 30.0}
    assert largest_drop(before, {"de": 45.0, "en": 88.5, "xx": 0.0}) == ("en", 1.5)
    assert largest_drop(before, {"de": 45.0, "ja": 31.0}) == ("ja", -1.0)
    assert largest_drop(before, {"de": 39.0, "ja": 29.0}) == ("de", 1.0)


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        largest_drop({"de": 1.0}, {"ja": 1.0})
