"""What Redis does for the nodes in one step: the scripts, and all keys. Each touches keys of one slot only.

::

    ts:nodes                          set     ids of nodes that live, or have something left to be ended
    ts:node:{<id>}:lease              string  JSON of what the node says of itself; gone when it is dead
    ts:node:{<id>}:sessions           set     its living sessions
    ts:node:{<id>}:doomed             set     those that were its when it was found dead, and are still to be ended
    ts:node:{<id>}:reaped             set     the same, until the node has heard of it
    ts:node:{<id>}:reaper             string  who ends them now
    ts:{<session id>}:session         hash    node, user, at, living (1, 0), lost (1: by a reaper), record, view
    ts:sessions                       zset    all sessions by the time they were made
    ts:user:{<user>}:sessions         zset    those of a user
    ts:living                         zset    what counts, by the time (ms, of Redis) until which it does unless renewed
    ts:user:{<user>}:living           zset    the same of a user
    ts:user:{<user>}:tickets          zset    unused tickets of a user, by the time until which they can be used
    ts:ticket:{<digest>}              string  what a ticket is for
    ts:user:{<user>}:assigned         hash    node by digest of a request that may be repeated
    ts:user:{<user>}:assigned_at      zset    these digests by the time (µs, of Redis) they came

No clock but that of Redis is compared with anything in Redis. Every key has a time to live.
"""

from __future__ import annotations

from replay.redis_scripts import Script

NODES = "ts:nodes"
SESSIONS = "ts:sessions"
LIVING = "ts:living"


def node_key(node_id: str, end: str) -> str:
    """Return a key of a node."""
    return f"ts:node:{{{node_id}}}:{end}"


def user_key(user: str, end: str) -> str:
    """Return a key of a user."""
    return f"ts:user:{{{user}}}:{end}"


def session_key(session_id: str) -> str:
    """Return the key of a session's entry."""
    return f"ts:{{{session_id}}}:session"


def ticket_key(digest: str) -> str:
    """Return the key of a ticket."""
    return f"ts:ticket:{{{digest}}}"


RENEW = Script.of("""
-- KEYS lease, reaped. ARGV incarnation, turn, home, JSON, milliseconds, then sessions whose loss the node has heard of.
-- Hold the lease, unless another living process does. One whose home is ours is dead: we have its lock.
local found = redis.call('GET', KEYS[1])
if found then
  local other = cjson.decode(found)
  if other.incarnation == ARGV[1] then
    if other.turn > tonumber(ARGV[2]) then return {'late'} end
  elseif other.state ~= 'away' and not other.gone and (ARGV[3] == '' or other.home ~= ARGV[3]) then
    return {'taken'}
  end
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
for at = 6, #ARGV do redis.call('SREM', KEYS[2], ARGV[at]) end
return {'renewed', unpack(redis.call('SRANDMEMBER', KEYS[2], 500))}
""")

DOOM = Script.of("""
-- KEYS lease, sessions, doomed, reaped, reaper. ARGV who asks, milliseconds of a turn, milliseconds to live, count,
--   then sessions that are ended.
-- Decide once and for all that what a dead node had is lost, and give some of it to whoever's turn it is. What was
-- decided is done even if the node is back meanwhile; what it has made since is untouched.
for at = 5, #ARGV do redis.call('SREM', KEYS[3], ARGV[at]) end
local lease = redis.call('GET', KEYS[1])
if not lease or cjson.decode(lease).gone then
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('SUNIONSTORE', KEYS[3], KEYS[3], KEYS[2])
    redis.call('SUNIONSTORE', KEYS[4], KEYS[4], KEYS[2])
    redis.call('DEL', KEYS[2])
    redis.call('PEXPIRE', KEYS[3], ARGV[3])
    redis.call('PEXPIRE', KEYS[4], ARGV[3])
  end
elseif redis.call('EXISTS', KEYS[3]) == 0 then
  return {'living'}
end
if redis.call('EXISTS', KEYS[3]) == 0 then
  if redis.call('GET', KEYS[5]) == ARGV[1] then redis.call('DEL', KEYS[5]) end
  return {'done'}
end
local reaper = redis.call('GET', KEYS[5])
if reaper and reaper ~= ARGV[1] then return {'busy'} end
redis.call('SET', KEYS[5], ARGV[1], 'PX', ARGV[2])
return {'yours', unpack(redis.call('SRANDMEMBER', KEYS[3], ARGV[4]))}
""")

SAVE = Script.of("""
-- KEYS session. ARGV node, user, at, living, record, view, milliseconds to live.
local living, lost = unpack(redis.call('HMGET', KEYS[1], 'living', 'lost'))
if lost then return 'lost' end
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'user', ARGV[2], 'at', ARGV[3], 'living', ARGV[4],
  'record', ARGV[5], 'view', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return living and 'saved' or 'new'
""")

LOSE = Script.of("""
-- KEYS session. ARGV node, record, view, milliseconds to live. From now on it is nobody's.
local node, living = unpack(redis.call('HMGET', KEYS[1], 'node', 'living'))
if node ~= ARGV[1] or living ~= '1' then return 0 end
redis.call('HSET', KEYS[1], 'living', '0', 'lost', '1', 'record', ARGV[2], 'view', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
""")

CLAIM = Script.of("""
-- KEYS living. ARGV session, limit, milliseconds of a claim, milliseconds to live.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {1, now} end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {0, now} end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, now}
""")

COUNT = Script.of("""
-- KEYS living (or tickets). ARGV milliseconds for which they count, milliseconds to live, then sessions.
local time = redis.call('TIME')
local till = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for at = 3, #ARGV do redis.call('ZADD', KEYS[1], till, ARGV[at]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")

UNCOUNT = Script.of("""
-- KEYS living. ARGV sessions with their scores as they were seen: whoever is renewed meanwhile stays.
for at = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[at]) == ARGV[at + 1] then redis.call('ZREM', KEYS[1], ARGV[at]) end
end
return 1
""")

PAGE = Script.of("""
-- KEYS sessions. ARGV score, member, count. Return what stands after a place, whether or not anything is there now.
-- Members of one score are in the order of their bytes; Lua's own `<` would follow the server's locale.
local function follows(one, other)
  for at = 1, math.min(#one, #other) do
    local a, b = one:byte(at), other:byte(at)
    if a ~= b then return a > b end
  end
  return #one > #other
end
local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
local high = low + redis.call('ZCOUNT', KEYS[1], ARGV[1], ARGV[1])
while low < high do
  local middle = math.floor((low + high) / 2)
  if follows(redis.call('ZRANGE', KEYS[1], middle, middle)[1], ARGV[2]) then high = middle else low = middle + 1 end
end
return redis.call('ZRANGE', KEYS[1], low, low + ARGV[3] - 1, 'WITHSCORES')
""")

TICKET = Script.of("""
-- KEYS tickets of a user. ARGV digest, limit, milliseconds to live. Count a ticket, unless there are too many.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
""")

ASSIGN = Script.of("""
-- KEYS assigned, assigned_at. ARGV digest, node, the node it may be taken from ('': none), limit, milliseconds to live.
-- Return the node that a request belongs to; the oldest requests beyond the limit belong to nobody again.
local has = redis.call('HGET', KEYS[1], ARGV[1])
if has and has ~= ARGV[3] then return has end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], time[1] * 1000000 + time[2], ARGV[1])
local surplus = redis.call('ZCARD', KEYS[2]) - ARGV[4]
if surplus > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[2], surplus)
  for at = 1, #oldest, 2 do redis.call('HDEL', KEYS[1], oldest[at]) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return ARGV[2]
""")
