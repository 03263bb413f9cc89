"""Times as the store keeps them."""

from __future__ import annotations

import re
from datetime import UTC, datetime


def as_time(text: str) -> str | None:
    """A time as the store keeps it, 2024-05-12T10:15:02: in this form text sorts as time does.

    Args:
        text: ISO 8601, in whole or in its short form 20240512T101502; or 20240512101502; or
            seconds since 1970. A time with a zone becomes UTC.

    Returns:
        None where nothing stands there.

    Raises:
        ValueError: it is no such time.
    """
    text = text.strip()
    if not text or text.casefold() in ("nan", "none", "null", "nat"):
        return None
    try:
        if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
            time = datetime.fromtimestamp(float(text), UTC)
        elif re.fullmatch(r"\d{14}", text):
            time = datetime.fromisoformat(f"{text[:8]}T{text[8:]}")
        else:
            time = datetime.fromisoformat(re.sub(r"[_ ]", "T", text, count=1))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"has the time {text!r}, which is neither ISO 8601 nor seconds since 1970"
        ) from error
    if time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    return time.isoformat()
