from __future__ import annotations

import pytest

from wsi_necrosis.errors import ClaimedError, GoneError, UsageError, WsiNecrosisError
from wsi_necrosis.viewer.access import HEADERS, Access, status_of


def test_tokens_are_long_and_differ() -> None:
    one, other = Access(80), Access(80)
    assert one.token != other.token
    assert len(one.token) >= 43  # 32 bytes
    assert one.token not in repr(one)
    assert one.address == f"http://127.0.0.1:80/?token={one.token}"


def test_only_the_token_is_known() -> None:
    access = Access(80, "secret")
    assert access.knows("secret")
    assert not any(access.knows(each) for each in (None, "", "secre", "secret ", "SECRET", "\u00e9"))


def test_the_policy_lets_no_script_in_but_the_pages_own() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("error", "status"), [(GoneError(""), 410), (UsageError(""), 404), (ClaimedError(""), 409)]
)
def test_errors_have_a_status(error: WsiNecrosisError, status: int) -> None:
    assert status_of(error) == status
