"""Every message of the WebSocket protocol, and its two encodings. Golden vectors: tests/wire/.

JSON carries bytes as base64, MessagePack as `bin`; everything else is the same. Positions are whole numbers below
2**63, times are seconds since 1970 as floats.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from terminal_service.sizes import LIMIT

LARGEST = 2**63 - 1
REFUSAL_LIMIT = 300
Position = Annotated[int, Meta(ge=0, le=LARGEST)]
Number = Annotated[int, Meta(ge=1, le=LARGEST)]
Rows = Annotated[int, Meta(ge=1, le=LIMIT)]
SignalName = Literal["INT", "TERM", "HUP", "QUIT", "KILL", "TSTP", "CONT", "WINCH", "USR1", "USR2"]
ModeName = Literal["exact", "live", "frozen"]
RecoverName = Literal["exact", "gap", "tail"]


class _Message(Struct, tag_field="type", gc=False, omit_defaults=True):
    """A message; its tag is the value of `type`."""


# -- server to client


class Attached(_Message, tag="attached"):
    """The one reply to an attach. `preamble` restores the terminal's modes and has no positions."""

    session_id: str
    terminal_id: str
    client_id: str
    role: str
    mode: str
    recover: RecoverName
    seq: int
    head: int
    first: int
    epoch: str
    rows: int
    cols: int
    window: int
    heartbeat_interval: float
    input_n: int
    ended: bool | UnsetType = UNSET
    lost_bytes: int | UnsetType = UNSET
    preamble: bytes | UnsetType = UNSET


class Output(_Message, tag="output"):
    """Terminal output; `seq` is the position after its last byte, `replay` marks what was there at the attach."""

    data: bytes | memoryview
    seq: int
    timestamp: float
    replay: bool


class ReplayEnd(_Message, tag="replay_end"):
    """All that was there at the attach has been sent; `sha256` (hexadecimal) is over these bytes."""

    seq: int
    sha256: str


class Gap(_Message, tag="gap"):
    """Bytes from `first` to `last` are not sent. `preamble` restores the terminal's modes at `last`.

    With `reason` torn, `first` and `last` are the same and `lost_bytes` 0: output may be missing there that never had
    positions, because a process of the service died while it was reading; nobody knows how much.
    """

    first: int
    last: int
    lost_bytes: int
    reason: Literal["trimmed", "skipped", "epoch", "torn"]
    preamble: bytes | UnsetType = UNSET


class Resized(_Message, tag="resize"):
    """The terminal has this size from position `seq` on."""

    rows: int
    cols: int
    seq: int
    client_id: str


class Heartbeat(_Message, tag="heartbeat"):
    """Sent every `heartbeat_interval`."""

    timestamp: float
    session_id: str
    seq: int
    expires_at: float | None
    viewers: int


class ServerPing(_Message, tag="ping"):
    """Asks for a `pong`; any message is as good a sign of life."""

    timestamp: float


class ServerPong(_Message, tag="pong"):
    """Answers a `ping` with its own timestamp."""

    timestamp: float


class InputAck(_Message, tag="input_ack"):
    """Every numbered input up to `n` has been written to the PTY."""

    n: int


class Viewers(_Message, tag="viewers"):
    """Who is attached, on every change. `responder` is the one whose emulator answers terminal queries."""

    viewers: list[dict[str, object]]
    responder: str | None


class FlowPause(_Message, tag="flow_pause"):
    """Delivery waits for acknowledgement; `bytes` are outstanding."""

    bytes: int


class FlowResume(_Message, tag="flow_resume"):
    """Delivery goes on; `bytes` of the window are free."""

    bytes: int


class StorageState(_Message, tag="storage"):
    """The log lives in memory only (`durable` false, with the reason) or is durable again."""

    durable: bool
    reason: str


class Draining(_Message, tag="draining"):
    """The node that has the session ends at `deadline` (the latest); null: it stays after all."""

    deadline: float | None


class Notice(_Message, tag="notice"):
    """The place where the session runs says something of itself, from position `seq` on."""

    kind: str
    message: str
    seq: int
    timestamp: float
    fields: dict[str, object] = {}


class SessionEnded(_Message, tag="session_ended"):
    """The session is over and everything it printed has been sent."""

    reason: str
    exit_code: int | None
    signal: str | None
    pid: int | None
    timestamp: float
    message: str | UnsetType = UNSET


class Error(_Message, tag="error"):
    """Something the client sent was refused, or went wrong; the connection stays open unless it closes."""

    code: str
    error: str
    timestamp: float
    expected: int | UnsetType = UNSET


ServerMessage = (
    Attached
    | Output
    | ReplayEnd
    | Gap
    | Resized
    | Heartbeat
    | ServerPing
    | ServerPong
    | InputAck
    | Viewers
    | FlowPause
    | FlowResume
    | StorageState
    | Draining
    | Notice
    | SessionEnded
    | Error
)

# -- client to server


class Input(_Message, tag="input"):
    """Keystrokes; with `n` (1, 2, 3 … per client id) each is written once, in order, and acknowledged."""

    data: bytes
    n: Number | None = None


class Resize(_Message, tag="resize"):
    """The size this viewer can show."""

    rows: Rows
    cols: Rows


class Ack(_Message, tag="ack"):
    """What the client has rendered: a position, or a count of bytes since the last acknowledgement."""

    seq: Position | None = None
    bytes: Position | None = None


class Signal(_Message, tag="signal"):
    """Send a signal to the foreground process group."""

    name: SignalName


class Mode(_Message, tag="mode"):
    """Change how output is delivered to this viewer."""

    mode: ModeName


class Ping(_Message, tag="ping"):
    """Asks for a `pong`."""

    timestamp: float = 0.0


class Pong(_Message, tag="pong"):
    """Answers the server's `ping`."""

    timestamp: float = 0.0


class WindowUpdate(_Message, tag="window_update"):
    """How many bytes this client takes unacknowledged."""

    window_size: Annotated[int, Meta(ge=4096, le=64 * 1024 * 1024)]


class Detach(_Message, tag="detach"):
    """Leave without ending the session."""


ClientMessage = Input | Resize | Ack | Signal | Mode | Ping | Pong | WindowUpdate | Detach

DecodeError = msgspec.DecodeError
"""Raised by the decoders with a message that names the field (`Expected int >= 1 - at $.rows`)."""

_json = msgspec.json.Decoder(ClientMessage)
_msgpack = msgspec.msgpack.Decoder(ClientMessage)
encode_json = msgspec.json.Encoder().encode
encode_msgpack = msgspec.msgpack.Encoder().encode


def decode_json(data: bytes | str) -> ClientMessage:
    """Read a client's message from JSON. Raises DecodeError."""
    try:
        message: ClientMessage = _json.decode(data)
    except (DecodeError, RecursionError, UnicodeError) as error:
        raise _refusal(error) from error
    return message


def decode_msgpack(data: bytes) -> ClientMessage:
    """Read a client's message from MessagePack. Raises DecodeError."""
    try:
        message: ClientMessage = _msgpack.decode(data)
    except (DecodeError, RecursionError, UnicodeError) as error:
        raise _refusal(error) from error
    return message


def _refusal(error: Exception) -> DecodeError:
    """Return what to tell the client: short (it may quote a megabyte), whatever went wrong below."""
    text = str(error)
    if not isinstance(error, DecodeError):  # nested too deep to skip; a name that is not UTF-8
        text = f"the message cannot be read: {text}"
    return DecodeError(text if len(text) <= REFUSAL_LIMIT else f"{text[:200]} … {text[-80:]}")
