"""What Redis does with a log, all or nothing: the scripts, their keys, arguments and answers.

The keys of a log are of one hash tag, so that a session lives on one shard of a cluster::

    ts:{<session id>}:<terminal id>:out   stream
        <end>-0    d bytes, t milliseconds            output; `end` is the position after it
        <end>-<k>  e JSON of an event                 k = 1, 2 ... at this position
        <end>-<k>  g bytes lost, t milliseconds       output before `end` that could not be kept
    ts:{<session id>}:<terminal id>:log   hash
        log      name of this history (`Log.epoch`)
        owner    number of the writer that claimed it last: one with a lower number is refused
        head     position after the last output       sub    k of the last entry there
        index    of the last event                    start  where the stream began
        retention  bytes kept for readers      sealed   why nothing is appended any more
        last:<kind>  JSON of the last event of this kind, which may have left the stream
    ts:{<session id>}:<terminal id>:followed   string, there while somebody follows: SPUBLISH or PUBLISH

What is appended is published too while it is followed, in the same step, on the channel ts:{...}:<terminal id>:live
(`redis_message`). So nobody hears of what is not in the stream yet.

All writes go through these scripts, so that what they check and what they do is one step. They need no memory of
what was sent before: everything may be sent again, by this writer or by the next one, and may be done late. That is
why a writer brings its number: if Redis gave them out, a claim of a writer long dead could fence off the living one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_CLAIM = """
-- KEYS stream, hash, followed. ARGV log, owner, first, retention, milliseconds to live.
-- Become the writer, unless a newer one is. Another history under this name makes way: who claims knows the right one.
local log, owner, head, index, sealed = unpack(redis.call('HMGET', KEYS[2], 'log', 'owner', 'head', 'index', 'sealed'))
if sealed then return {'fenced', head or '0', index or '0', owner or '0'} end
if log == ARGV[1] and tonumber(owner) > tonumber(ARGV[2]) then return {'fenced', head, index, owner} end
if log ~= ARGV[1] then  -- in this order: a user who lacks a right is stopped in between, and it must end well later
  head, index = ARGV[3], '0'
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], 'log', ARGV[1], 'head', head, 'sub', '0', 'index', index, 'start', head, 'owner', ARGV[2])
end
redis.call('HSET', KEYS[2], 'owner', ARGV[2], 'retention', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {'claimed', head, index, ARGV[2]}
"""

_PUBLISHING = """
local how = nil  -- asked for once something was appended; refused or not, that is done

local function publish(log, head, index, kind, number, data)  -- with where it follows, and a sum of it all
  if how == nil then how = redis.pcall('GET', KEYS[3]) end
  if how ~= 'SPUBLISH' and how ~= 'PUBLISH' then return end
  local body = table.concat({log, head, index, kind, number}, ' ') .. '\\n' .. data
  redis.pcall(how, KEYS[3]:sub(1, -9) .. 'live', redis.sha1hex(body):sub(1, 16) .. body)
end
"""

_APPEND = (
    _PUBLISHING
    + """
-- KEYS stream, hash, followed. ARGV log, owner, first retained, milliseconds to live, base, then for each item three:
--   'd', milliseconds, bytes | 'e', index, JSON | 'g', milliseconds, position
-- Append what follows position `base`. What is there already must be the same, and is left out.
local log, owner, head, sub, index, sealed =
  unpack(redis.call('HMGET', KEYS[2], 'log', 'owner', 'head', 'sub', 'index', 'sealed'))
if sealed then return {'fenced', head or '0', index or '0', owner or '0'} end
if not log then return {'unknown', '0', '0', '0'} end
if log ~= ARGV[1] or tonumber(owner) > tonumber(ARGV[2]) then return {'fenced', head, index, owner} end
if tonumber(owner) < tonumber(ARGV[2]) then return {'unknown', head, index, owner} end
head, sub, index = tonumber(head), tonumber(sub), tonumber(index)

local function text(number) return string.format('%.0f', number) end

local function value(fields, name)
  for at = 1, #fields, 2 do
    if fields[at] == name then return fields[at + 1] end
  end
end

local function is_same(begin, finish, data)  -- as far as it is still there
  local from = text(begin + 1)
  while true do
    local found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 4)
    for _, entry in ipairs(found) do
      local last, bytes = tonumber(entry[1]:match('^%d+')), value(entry[2], 'd')
      if bytes then
        local first = last - #bytes
        local low, high = math.max(first, begin), math.min(last, finish)
        if high > low and bytes:sub(low - first + 1, high - first) ~= data:sub(low - begin + 1, high - begin) then
          return false
        end
      end
      if last >= finish then return true end
    end
    if #found < 4 then return true end
    from = '(' .. found[#found][1]
  end
end

local position = tonumber(ARGV[5])
if position > head and ARGV[6] ~= 'g' then return {'behind', text(head), text(index), owner} end
local entries, told = {}, {}
for at = 6, #ARGV, 3 do
  local kind, number, data = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if kind == 'd' then
    local begin, finish = position, position + #data
    local known = math.min(head, finish) - begin
    if known > 0 and not is_same(begin, begin + known, data) then
      return {'forked', text(head), text(index), owner}
    end
    if finish > head then
      data = data:sub(head - begin + 1)
      entries[#entries + 1] = {text(finish) .. '-0', 'd', data, 't', number}
      told[#told + 1] = {text(head), text(index), 'd', number, data}
      head, sub = finish, 0
    end
    position = finish
  elseif kind == 'e' then
    if tonumber(number) > index then
      told[#told + 1] = {text(head), text(index), 'e', '0', data}
      sub, index = sub + 1, tonumber(number)
      entries[#entries + 1] = {text(head) .. '-' .. text(sub), 'e', data}
      redis.call('HSET', KEYS[2], 'last:' .. cjson.decode(data)[3], data)
    end
  elseif tonumber(data) > head then
    entries[#entries + 1] = {data .. '-1', 'g', text(tonumber(data) - head), 't', number}
    told[#told + 1] = {text(head), text(index), 'g', number, data}
    head, sub, position = tonumber(data), 1, tonumber(data)
  else
    position = tonumber(data)
  end
end
for _, entry in ipairs(entries) do
  local added = redis.pcall('XADD', KEYS[1], unpack(entry))
  -- It is there already where a right was missing that the step after it needs: readers leave out what they have.
  if type(added) == 'table' and added.err and not added.err:find('equal or smaller') then return added end
end
if #entries > 0 then
  redis.call('HSET', KEYS[2], 'head', text(head), 'sub', text(sub), 'index', text(index))
  redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[3])
  for _, each in ipairs(told) do publish(log, unpack(each)) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {'stored', text(head), text(index), owner}
"""
)

_SEAL = (
    _PUBLISHING
    + """
-- KEYS stream, hash, followed. ARGV reason, JSON of an event from its kind on, milliseconds to live.
-- Let nobody append any more, whoever it is; the event is the last thing in the log, if there is one.
local log, owner, head, sub, index, sealed =
  unpack(redis.call('HMGET', KEYS[2], 'log', 'owner', 'head', 'sub', 'index', 'sealed'))
if not sealed then
  redis.call('HSET', KEYS[2], 'sealed', ARGV[1])
  if log then
    local before = index
    index, sub = string.format('%.0f', tonumber(index) + 1), string.format('%.0f', tonumber(sub) + 1)
    local data = '[' .. index .. ',' .. head .. ',' .. ARGV[2]
    redis.call('XADD', KEYS[1], head .. '-' .. sub, 'e', data)
    redis.call('HSET', KEYS[2], 'sub', sub, 'index', index)
    publish(log, head, before, 'e', '0', data)
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return {'sealed', head or '0', index or '0', owner or '0'}
"""
)

_DELETE = """
-- KEYS stream, hash, followed. ARGV log. Delete this history, whoever wrote it last; another one stays.
if redis.call('HGET', KEYS[2], 'log') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2], KEYS[3]) end
return {'deleted', '0', '0', '0'}
"""


@dataclass(frozen=True)
class Script:
    """A script, and the name a server knows it by once it has seen it."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        """Name a script as Redis does."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


CLAIM, APPEND, DELETE, SEAL = Script.of(_CLAIM), Script.of(_APPEND), Script.of(_DELETE), Script.of(_SEAL)


class Verdict(Enum):
    """What became of a call."""

    CLAIMED = b"claimed"
    STORED = b"stored"
    DELETED = b"deleted"
    SEALED = b"sealed"
    BEHIND = b"behind"
    """Redis has less than it had: go on at the position it gives."""
    UNKNOWN = b"unknown"
    """It does not know the log, or not this writer of it: claim it (again)."""
    FENCED = b"fenced"
    """A newer writer has claimed it, another history has its name, or it was sealed. Nothing was written."""
    FORKED = b"forked"
    """It has other bytes at the same positions. Nothing was written."""


@dataclass(frozen=True)
class Answer:
    """What a script answered: a verdict, and what Redis has: up to which position and event, from which writer."""

    verdict: Verdict
    head: int
    index: int
    owner: int

    @classmethod
    def parse(cls, reply: Sequence[bytes]) -> Answer:
        """Read the reply of any of the scripts."""
        verdict, head, index, owner = reply
        return cls(Verdict(verdict), int(head), int(index), int(owner))


@dataclass(frozen=True)
class Keys:
    """The keys of a log."""

    stream: str
    hash: str
    followed: str
    live: str
    """Not a key but the channel; it belongs to the same shard."""

    @classmethod
    def of(cls, name: str) -> Keys:
        """Return the keys of the log named `<session id>/<terminal id>`."""
        session_id, _, terminal_id = name.partition("/")
        stem = f"ts:{{{session_id}}}:{terminal_id}"
        return cls(f"{stem}:out", f"{stem}:log", f"{stem}:followed", f"{stem}:live")


@dataclass(frozen=True)
class Call:
    """One script with its keys and arguments."""

    script: Script
    keys: Keys
    arguments: tuple[str | bytes | int, ...]

    def words(self, *, whole: bool) -> tuple[str | bytes | int, ...]:
        """Return the command; `whole`: with the script's text, for a server that has not seen it yet."""
        name, body = ("EVAL", self.script.text) if whole else ("EVALSHA", self.script.sha)
        return (name, body, 3, self.keys.stream, self.keys.hash, self.keys.followed, *self.arguments)
