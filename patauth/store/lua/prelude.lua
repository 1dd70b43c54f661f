-- Precedes the scripts that name it (store/scripts.py), after layout.lua. Reads the clock, and the fixed part of records.
--   ARGV[1]  now, ms; empty: the server's clock (only tests give a time)
--   now, now_us  this instant in ms and µs; never concatenate them: a number of 14 digits loses digits as text
local byte, sub, floor = string.byte, string.sub, math.floor

local now_us
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
else
  now_us = ARGV[1] * 1000
end
local now = floor(now_us / 1000)

local function u48(text, at)
  local a, b, c, d, e, f = byte(text, at, at + 5)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end

-- Returns whether this is the record of a PAT that may act now. Networks and not-before are judged by the caller of a
-- script: by the version of a record.
local function active(pat)
  if not pat or byte(pat, 1) ~= SCHEMA then return false end
  local state = byte(pat, STATE)
  return (state == ACTIVE or state == ACTIVE + CONDITIONAL) and now < u48(pat, EXPIRY)
end

-- Returns whether a generation (3 bytes) is valid now: that of the current secret, or of the previous one in its
-- overlap.
local function current(pat, generation)
  if generation == sub(pat, GENERATION, GENERATION + 2) then return true end
  local previous = SLOT + SLOT_SIZE
  return byte(pat, SLOTS) == 50 and generation == sub(pat, previous, previous + 2) and now < u48(pat, OVERLAP)
end

-- Judges the credential that asks for a change, as it is now.
--   pat_key, token_key  the record of its PAT, and of the access token if it is one
--   by    empty: there is none, or it is in another slot; else the version of the record by which it was judged (8
--         bytes), its generation (3), and 't' for an access token
-- Returns nil if it still stands, else an answer: 6 it has ended, 7 its PAT has changed, so judge it again
local function refused(pat_key, token_key, by)
  if by == '' then return nil end
  local pat, generation = redis.call('GET', pat_key), sub(by, 9, 11)
  if not active(pat) or not current(pat, generation) then return 6 end
  if sub(by, 12, 12) == 't' then
    local token = redis.call('GET', token_key)
    if not token or now >= u48(token, 5) then return 6 end
  end
  if sub(pat, VERSION, VERSION + 7) ~= sub(by, 1, 8) then return 7 end
  return nil
end

-- Writes a value, to be kept for so many ms from now on; empty: for ever.
local function put(key, value, keep)
  if keep == '' then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', keep)
  end
end

-- Writes a key without content, for WAIT and WAITAOF to wait for. Delete first: that works even when the memory is full.
local function barrier(key)
  redis.call('DEL', key)
  redis.call('SET', key, '', 'PX', 1000)
end

-- Offsets in an owner record, counted from 1: the state, whether a PAT with an unknown schema was met, and the entry of
-- the last PAT that is done. The last two are there during a change.
local OWNER_STATE, OWNER_UNREAD, OWNER_LAST = 2, 11, 12

-- Returns what forbids new secrets for an owner, as the code that a script answers: -1, a record of an unknown schema,
-- or `disabled`. nil: nothing.
local function owner_forbids(owner_key, disabled)
  local owner = redis.call('GET', owner_key)
  if owner and byte(owner, 1) ~= SCHEMA then return -1 end
  if owner and sub(owner, OWNER_STATE, OWNER_STATE) == 'd' then return disabled end
  return nil
end

-- What a credential has begun in another slot may still be written there for so long after it was judged, ms.
local IN_FLIGHT = 500

-- Returns how long to wait, ms, until an end in this slot holds in all others, too. `ends`: this script ends something
-- that could change PATs of others; else an earlier script may have, whose caller still waits.
local function wait_for_others(key, ends)
  if not ends then return math.max(0, redis.call('PTTL', key)) end
  redis.pcall('SET', key, '', 'PX', IN_FLIGHT) -- without memory, only a caller who repeats the end returns too early
  return IN_FLIGHT
end
