"""Bodies of requests: pictures and options, as a form or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pyramid_reid.search.serve import security
from pyramid_reid.search.serve.messages import MAX_PICTURES, Message
from pyramid_reid.search.serve.queries import Refusal

Options = TypeVar("Options", bound=Message)


async def read(request: Request, kind: type[Options] | None) -> tuple[list[bytes], Options | None]:
    """Pictures and options of a request: a form, or the options alone as JSON.

    Raises:
        Refusal: it is neither, or the options are not as described.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json" and kind is not None:
        return [], _parsed(kind, await request.body())
    if content_type != "multipart/form-data":
        raise Refusal(415, "send a form (multipart/form-data)" + (" or JSON" if kind else ""))
    try:
        form = await _Form(
            request.headers, request.stream(), max_files=MAX_PICTURES, max_fields=1
        ).parse()
    except MultiPartException as error:
        raise Refusal(400, f"the form cannot be read: {error.message}") from error
    try:
        pictures, options = [], None
        for name, value in form.multi_items():
            if name == "images" and isinstance(value, UploadFile):
                pictures.append(await value.read())
            elif name == "options" and isinstance(value, str) and kind is not None:
                options = _parsed(kind, value.encode("utf-8", "replace"))
            else:
                raise Refusal(422, "the form has files named `images` and a text named `options`")
        return pictures, options
    finally:
        await form.close()


class _Form(MultiPartParser):
    """Pictures of a request stay in memory, where its body is, too; none is written to disk."""

    spool_max_size = security.MAX_BODY


def _parsed(kind: type[Options], body: bytes) -> Options:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise Refusal(
            422, first_error(error.errors(include_input=False, include_url=False))
        ) from error


def first_error(errors: Sequence[Any]) -> str:
    """The first error, without what was sent."""
    first = errors[0]
    where = ".".join(str(part)[:80] for part in first["loc"])
    return f"{where}: {first['msg']}"[:400] if where else str(first["msg"])[:400]


def described(options: type[Message] | None) -> dict[str, Any]:
    """How OpenAPI describes a body that `read` reads."""
    images = {
        "type": "array",
        "maxItems": MAX_PICTURES,
        "items": {"type": "string", "format": "binary"},
        "description": "JPEG, PNG or BMP of one person",
    }
    form: dict[str, Any] = {"type": "object", "properties": {"images": images}}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if options is not None:
        schema = options.model_json_schema()
        form["properties"]["options"] = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": schema,
        }
        content["application/json"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}
