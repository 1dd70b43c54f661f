-- Precedes every script except authenticate.lua, after layout.lua. Reads the clock, and the fixed part of records.
--   ARGV[1]  now, ms; empty: the server's clock (only tests and touch.lua give a time)
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

-- Returns whether this is the record of a PAT that may act now.
local function active(pat)
  return pat and byte(pat, 1) == SCHEMA and byte(pat, STATE) == 97 and now < u48(pat, EXPIRY)
end

-- Returns whether a generation (3 bytes) is valid now: that of the current secret, or of the previous one in its
-- overlap.
local function current(pat, generation)
  if generation == sub(pat, GENERATION, GENERATION + 2) then return true end
  local previous = SLOT + SLOT_SIZE
  return byte(pat, SLOTS) == 50 and generation == sub(pat, previous, previous + 2) and now < u48(pat, OVERLAP)
end
