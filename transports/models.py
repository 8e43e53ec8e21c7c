"""What clients send over HTTP, checked; the same classes are the OpenAPI document's.

Values are taken as they are meant: no text for a number, no unknown field. Bounds that depend on the settings
are checked where a request is carried out, and written into the document by `transports.openapi`.
"""

import binascii
from base64 import b64decode
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic import field_validator as validator

from replay.log import MINIMUM_RETENTION_BYTES
from terminal_service.sizes import LIMIT as SIZE_LIMIT
from terminal_service.wire import SignalName

ENV_LIMIT = 1000
ENV_BYTES_LIMIT = 64 * 1024
COMMAND_LIMIT = 1000
COMMAND_BYTES_LIMIT = 64 * 1024
LABELS_LIMIT = 64
CAPABILITIES = 8
MEBIBYTE = 1 << 20


def _whole(value: object) -> object:
    """Take 30.0 for 30: to JSON Schema it is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# The bounds come before the validator: pydantic writes bounds on a function's result as no JSON Schema keyword.
_WHOLE = BeforeValidator(_whole)
Length = Annotated[int, Field(ge=1, le=SIZE_LIMIT), _WHOLE]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=MINIMUM_RETENTION_BYTES), _WHOLE]
TicketRole = Literal["writer", "viewer"]
Capability = Literal["exec", "files", "port_forwarding", "stats", "signals", "reattach", "snapshot", "pause"]
SizePolicyName = Literal["smallest", "latest", "owner", "fixed"]

# None of these may hold a NUL byte, which ends a string for every system; those that are shown, no control
# character at all, which a terminal would obey.
_NO_NUL = r"^[^\x00]*$"
_ENV_NAME = r"^[^=\x00]+$"
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$"
_LABEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
_LABEL_NAME_CHARACTERS = 63

Printable = Annotated[str, StringConstraints(pattern=_PRINTABLE)]
Argument = Annotated[str, StringConstraints(pattern=_NO_NUL)]
UserId = Annotated[Printable, StringConstraints(min_length=1, max_length=128)]
Name = Annotated[Printable, StringConstraints(max_length=200)]
LabelName = Annotated[str, StringConstraints(pattern=_LABEL_NAME, min_length=1, max_length=_LABEL_NAME_CHARACTERS)]
LabelValue = Annotated[Printable, StringConstraints(max_length=255)]


def _map_schema(key: dict[str, Any], value: dict[str, Any], limit: int) -> WithJsonSchema:
    """Say what pydantic's own schema leaves open: keys of another shape are refused, not ignored."""
    return WithJsonSchema(
        {"type": "object", "propertyNames": key, "additionalProperties": value, "maxProperties": limit}
    )


_LABEL_NAME_SCHEMA = {"pattern": _LABEL_NAME, "maxLength": _LABEL_NAME_CHARACTERS}
_LABEL_VALUE_SCHEMA = {"type": "string", "pattern": _PRINTABLE, "maxLength": 255}

Env = Annotated[
    dict[Annotated[str, StringConstraints(pattern=_ENV_NAME)], Argument],
    Field(max_length=ENV_LIMIT),
    _map_schema({"pattern": _ENV_NAME}, {"type": "string", "pattern": _NO_NUL}, ENV_LIMIT),
]
Labels = Annotated[
    dict[LabelName, LabelValue],
    Field(max_length=LABELS_LIMIT),
    _map_schema(_LABEL_NAME_SCHEMA, _LABEL_VALUE_SCHEMA, LABELS_LIMIT),
]
LabelChanges = Annotated[
    dict[LabelName, LabelValue | None],
    Field(max_length=LABELS_LIMIT),
    _map_schema(_LABEL_NAME_SCHEMA, {"anyOf": [_LABEL_VALUE_SCHEMA, {"type": "null"}]}, LABELS_LIMIT),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CreateSession(_Request):
    """What to run, where, for whom and how long. Everything has a default; unknown fields are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"shell": "bash", "rows": 30, "cols": 120},
                {"backend": "auto", "needs": ["signals"], "expected_duration_minutes": 20},
                {"command": ["htop"], "name": "load", "labels": {"team": "ops"}, "ttl_seconds": 86400},
            ]
        }
    )

    shell: Annotated[Printable, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, description="A shell's name, as `bash`; missing: the service's default."
    )
    rows: Length = 24
    cols: Length = 80
    env: Env = Field(
        default_factory=dict,
        description="Variables beside the ones the service passes on; `$NAME` in a value stands for the value "
        f"NAME would have had. At most {ENV_BYTES_LIMIT} bytes in all. Never shown again.",
    )
    user_id: UserId | None = Field(
        None, description="Whose session it will be; only an administrator may name somebody else."
    )
    backend: Annotated[Printable, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None,
        description="Where to run it: a name of `GET /api/v1/backends`, or `auto` for a place that the service chooses "
        "by what is needed; missing: the default backend.",
    )
    needs: Annotated[list[Capability], Field(max_length=CAPABILITIES)] = Field(
        default_factory=list, description="What the place must be able to do."
    )
    needs_ssh: bool = Field(default=False, description="The place must be a machine that is reached by SSH.")
    long_lived: bool = Field(
        default=False, description="For `auto`: rather where a lost link or a restart costs nothing."
    )
    expected_duration_minutes: Seconds | None = Field(None, description="For `auto`: how long it will be used.")
    image: Annotated[str, StringConstraints(pattern=_IMAGE, min_length=1, max_length=512)] | None = Field(
        None, description="The image to run in, where there are images; missing: as the backend's operator chose."
    )
    cpus: Annotated[float, Field(gt=0, le=1024, allow_inf_nan=False)] | None = Field(
        None, description="Processors of its own, 0.5 is half of one; missing: as the backend's operator chose."
    )
    memory_bytes: Annotated[int, Field(ge=MEBIBYTE, le=1 << 50), _WHOLE] | None = Field(
        None, description="Memory of its own; missing: as the backend's operator chose."
    )
    gpus: Annotated[int, Field(ge=1, le=64), _WHOLE] | None = Field(None, description="GPUs of its own.")
    command: Annotated[list[Argument], Field(min_length=1, max_length=COMMAND_LIMIT)] | None = Field(
        None,
        description="A program and its arguments, instead of a shell. At most "
        f"{COMMAND_BYTES_LIMIT} bytes in all. One that cannot be executed is told in the output, and by exit "
        "code 127 (not found) or 126 (not executable).",
    )
    cwd: Annotated[str, StringConstraints(pattern=_NO_NUL, min_length=1, max_length=4096)] | None = Field(
        None, description="The working directory; a relative one begins at the home directory."
    )
    name: Name = Field("", description="For people.")
    labels: Labels = Field(default_factory=dict, description="For programs: what a list can be filtered by.")
    ttl_seconds: Seconds | None = Field(
        None, description="The session ends after this long without activity; missing: SESSION_TTL_SECONDS."
    )
    keepalive: bool = Field(
        default=True, description="Whether a writer that is attached and answers counts as activity."
    )
    size_policy: SizePolicyName | None = Field(
        None, description="Whose size counts while several look at it; missing: SIZE_POLICY."
    )
    retention_bytes: Bytes | None = Field(None, description="How much of the output is kept; missing: RETENTION_BYTES.")

    @validator("env")
    @classmethod
    def _bound_env(cls, env: dict[str, str]) -> dict[str, str]:
        _bound(ENV_BYTES_LIMIT, *env, *env.values())
        return env

    @validator("command")
    @classmethod
    def _check_command(cls, command: list[str] | None) -> list[str] | None:
        if command is not None:
            if not command[0]:
                raise ValueError("the first word, the program, is empty")
            _bound(COMMAND_BYTES_LIMIT, *command)
        return command

    @model_validator(mode="after")
    def _shell_or_command(self) -> Self:
        if self.shell is not None and self.command is not None:
            raise ValueError("give either a shell or a command")
        return self


class ChangeSession(_Request):
    """A JSON merge patch (RFC 7396): what is missing stays, null goes back to the default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "build", "labels": {"team": "ops", "old": None}}]}
    )

    name: Name | None = None
    labels: LabelChanges | None = Field(None, description="Merged with the present ones; null removes one, or all.")
    ttl_seconds: Seconds | None = Field(None, description="Counts from now.")
    size_policy: SizePolicyName | None = None


class Resize(_Request):
    """A size in characters."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rows": 40, "cols": 160}]})

    rows: Length
    cols: Length


class AskTicket(_Request):
    """What a ticket is for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "viewer"}]})

    role: TicketRole = Field(default="writer", description="The role to attach in, and no other one.")


class Signal(_Request):
    """A signal for the foreground process group."""

    name: SignalName


class Input(_Request):
    """Input as JSON: text, or any bytes in base64."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "ls -l\r"}, {"data": "bHMgLWwN"}],
            "oneOf": [{"required": ["text"]}, {"required": ["data"]}],
        }
    )

    text: Annotated[str, StringConstraints(min_length=1)] = Field("", description="Sent as UTF-8.")
    data: Annotated[str, StringConstraints(min_length=1)] = Field(
        "", description="Base64 (RFC 4648, section 4).", json_schema_extra={"contentEncoding": "base64"}
    )

    @validator("data")
    @classmethod
    def _is_base64(cls, data: str) -> str:
        try:
            b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("not base64") from error
        return data

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.text) == bool(self.data):
            raise ValueError("give either text or data")
        return self

    @property
    def content(self) -> bytes:
        """The bytes that are meant."""
        return self.text.encode() if self.text else b64decode(self.data)


def _bound(limit_bytes: int, *texts: str) -> None:
    if sum(len(text.encode()) + 1 for text in texts) > limit_bytes:
        raise ValueError(f"more than {limit_bytes} bytes in all")
