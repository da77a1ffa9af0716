"""The fields of a form, as a struct of those that mean something here; others are ignored, wrong ones refused."""

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from ray_sched.gateway.refusals import RequestError

StructT = TypeVar("StructT", bound=Struct)
_MAX_FIELDS = 200
_MAX_PART_BYTES = 2**18
_MAX_NAME = 200


class Upload(msgspec.Struct, frozen=True):
    """The one file of a form."""

    audio: bytes
    name: str


async def read_form(request: Request, kind: type[StructT], lists: Collection[str] = ()) -> tuple[StructT, Upload]:
    """The fields and the file. ``lists``: names of fields that may come several times, as ``name`` or ``name[]``.

    Raises RequestError 400.
    """
    async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_PART_BYTES) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError(400, "there is no file; send the audio as the form's field file", param="file")
        upload = Upload(await file.read(), (file.filename or "")[-_MAX_NAME:])
        fields = _fields(form, kind, lists)
    if not upload.audio:
        raise RequestError(400, "the file is empty; record it again", param="file")
    return convert(fields, kind, strict=False), upload


async def read_json(request: Request) -> Any:
    """The value of a body. Raises RequestError 400."""
    try:
        return msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {str(error)[:200]}") from None


def convert(fields: Any, kind: type[StructT], *, strict: bool) -> StructT:
    """The fields with their types checked. ``strict``: a number may not be written as a text. Raises RequestError."""
    try:
        return msgspec.convert(fields, kind, strict=strict)
    except msgspec.ValidationError as error:
        _, _, where = str(error).rpartition("`$.")
        raise RequestError(400, f"a field is wrong: {error}", param=where.rstrip("`") or None) from None


def check(field: str, value: str, known: Collection[str]) -> None:
    """Raises RequestError 400 for a value that is none of the known ones."""
    if value not in known:
        raise RequestError(400, f"{field} is {value[:80]!r}; say one of {', '.join(known)}", param=field)


def answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of answers that are no JSON, or not always."""
    return {200: {"description": "OK", "content": {media_type: {} for media_type in media_types}}}


def described_form(kind: type[Struct], lists: Collection[str] = ()) -> dict[str, Any]:
    """What OpenAPI says of such a request."""
    _, parts = msgspec.json.schema_components([kind], ref_template="{name}")
    (fields,) = (part["properties"] for part in parts.values())
    named = {f"{name}[]" if name in lists else name: schema for name, schema in fields.items()}
    file = {"type": "string", "format": "binary"}
    schema = {"type": "object", "required": ["file"], "properties": {"file": file, **named}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def described_json(kind: type[Struct]) -> dict[str, Any]:
    """What OpenAPI says of a request whose body is such a struct."""
    _, parts = msgspec.json.schema_components([kind], ref_template="{name}")
    (schema,) = parts.values()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _fields(form: FormData, kind: type[Struct], lists: Collection[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        key = name.removesuffix("[]")
        if key not in kind.__struct_fields__ or isinstance(value, UploadFile):
            continue
        if key in lists:
            fields.setdefault(key, []).append(value)
        elif value != "":
            fields[key] = value
    return fields
