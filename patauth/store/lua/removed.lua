-- Precedes the scripts that remove PATs because somebody asks for it, after prelude.lua. What is known of such a PAT is
-- kept: a record of its own without secrets, and an entry in an index of its owner's removed PATs.
--   index  the key of this index: the rest of PAT ids (12 bytes) by the instant of the removal, ms; with `BY_OTHERS`
--          added where the owner has not asked for it, so that what the owner removes takes no room from these

local BY_OTHERS = 281474976710656
local FEW = 10 -- entries that one script takes out of each half of an index, or finds too many

-- Returns an instant (ms) as 6 bytes.
local function u48_bytes(ms)
  local bytes = ''
  for i = 1, 6 do
    bytes = string.char(ms % 256) .. bytes
    ms = floor(ms / 256)
  end
  return bytes
end

-- Keeps the record of a PAT that this script has removed, and returns whether it did. Without memory nothing is kept.
--   key   that of the record to keep     pat  the record as it was     note  by whom and why (pack_note in record.py)
--   base  what to add to the instant in the index: 0 or `BY_OTHERS`     retention  ms to keep the record
-- The rest of the script goes on whatever happens here.
local function keep_removed(key, index, pat, note, base, retention)
  if byte(pat, 1) ~= SCHEMA or #pat < SLOT + SLOT_SIZE then return false end
  local slots = byte(pat, SLOTS) - 48
  if slots < 1 or slots > 2 then return false end
  local record = sub(pat, 1, 1) .. 'r0' .. sub(pat, EXPIRY, SLOT - 1) .. u48_bytes(now) .. note
    .. sub(pat, SLOT + SLOT_SIZE * slots)
  local done = redis.pcall('SET', key, record, 'PX', retention)
  if done.err then return false end
  done = redis.pcall('ZADD', index, base + now, sub(pat, ID + 4, ID + 15))
  if type(done) == 'table' and done.err then
    redis.call('DEL', key)
    return false
  end
  redis.call('PEXPIRE', index, retention)
  return true
end

-- Takes a few entries whose records have gone by their TTL out of an index. Returns those that are too many then, at
-- most `count`: the first that have to go.
local function surplus_removed(index, most, retention, count)
  for base = 0, BY_OTHERS, BY_OTHERS do
    local old = redis.call('ZRANGEBYSCORE', index, base, base + now - retention, 'LIMIT', 0, FEW)
    for i = 1, #old do redis.call('ZREM', index, old[i]) end
  end
  local over = redis.call('ZCARD', index) - most
  if over <= 0 then return {} end
  return redis.call('ZRANGE', index, 0, math.min(over, count) - 1)
end
