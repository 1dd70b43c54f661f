-- Decide over one request: look-up, secret tag or access token, expiry, revocation, owner state, quota.
--   KEYS[1]  PAT record     KEYS[2]  tat of the quota, µs     KEYS[3]  access token record (if it is one)
--   ARGV[1]  emission interval, µs     ARGV[2]  burst tolerance, µs (a whole quota)
--   ARGV[3]  of a secret its tag, 16 bytes; of an access token until when it and the record let it pass, ms, if the
--            caller has read the whole answer before
--   ARGV[4]  the version of the record that the caller has read, and by which it has judged what this script cannot read
--            (networks, not-before), 8 bytes; none: it has read none
--   ARGV[5]  of a secret the last use in the record, 6 bytes, if the caller has read the whole answer before
--   ARGV[6]  'exchange': the record's own request quota does not apply; 'ending': charge nothing, so that a PAT can
--            end itself when the memory is full
--   ARGV[7]  now, ms; without it, the server's clock (only tests give this)
-- Returns {verdict, now ms, µs, PAT record, access token record}; 1 and 2 {verdict, now ms, µs, version} if the caller has
-- read the rest
--   0  refused: unknown or wrong; an access token also if it is expired or disabled; charges nothing
--   1  admitted, µs = backlog (tat - now); for a secret, the caller must still check state and hash
--   2  over the quota, µs = wait
--   3  a record of an unknown schema
--   4  refused: a secret that was rotated away, after its overlap
--   5  the caller must judge this record and ask again with its version; charges nothing
--
-- Each request runs this script. So it does not use the prelude, which would create its functions at each call, the
-- arguments that most requests do not have are the last ones, and an expiry is given as an instant: Valkey rewrites a
-- SET that has a duration.
local byte, sub, call = string.byte, string.sub, redis.call
local PREVIOUS = SLOT + SLOT_SIZE

local now_us
if ARGV[7] then
  now_us = ARGV[7] * 1000
else
  local time = call('TIME')
  now_us = time[1] * 1000000 + time[2]
end
local now = (now_us - now_us % 1000) / 1000

local by_token = KEYS[3]
local got
if by_token then
  got = call('MGET', KEYS[1], KEYS[2], by_token)
else
  got = call('MGET', KEYS[1], KEYS[2])
end
local pat, tat, token = got[1], got[2], got[3]
if not pat then return {0, now} end
local version = sub(pat, VERSION, VERSION + 7)
local is_known = version == ARGV[4] -- so it is the same record, but for the last use
local is_short -- the caller knows all that the answer would say beyond the verdict
if by_token then
  if not token then return {0, now} end
  local till = ARGV[3]
  is_short = is_known and till and till ~= '' and now < till + 0
end

if not is_short then
  local schema, state, slots, a, b, c, d, e, f = byte(pat, 1, EXPIRY + 5)
  if schema ~= SCHEMA then return {3, now} end
  if by_token then
    local token_schema, _, _, _, u, v, w, x, y, z = byte(token, 1, 10)
    if token_schema ~= SCHEMA then return {3, now} end
    if now >= ((((u * 256 + v) * 256 + w) * 256 + x) * 256 + y) * 256 + z -- the token's expiry
      or now >= ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f -- the PAT's
      or (state ~= ACTIVE and state ~= ACTIVE + CONDITIONAL) then
      return {0, now}
    end
    local generation = sub(token, 2, 4)
    if generation ~= sub(pat, GENERATION, GENERATION + 2) then
      if slots ~= 50 or generation ~= sub(pat, PREVIOUS, PREVIOUS + 2) then return {0, now} end
      a, b, c, d, e, f = byte(pat, OVERLAP, OVERLAP + 5) -- the end of the overlap
      if now >= ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f then return {0, now} end
    end
  else
    local tag = ARGV[3]
    if sub(pat, SLOT + TAG, SLOT + TAG + 15) ~= tag then
      if slots ~= 50 or sub(pat, PREVIOUS + TAG, PREVIOUS + TAG + 15) ~= tag then return {0, now} end
      a, b, c, d, e, f = byte(pat, OVERLAP, OVERLAP + 5)
      if now >= ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f then return {4, now, 0, pat} end
    end
    is_short = is_known and ARGV[5] == sub(pat, LAST_USE, LAST_USE + 5)
  end
  if state >= ACTIVE + CONDITIONAL and not is_known then return {5, now, 0, pat, token} end
end
if ARGV[6] == 'ending' then return {1, now, 0, pat, token} end

-- GCRA (model/quota.py explains it, with the same arithmetic)
local emission, tolerance = ARGV[1] + 0, ARGV[2] + 0
if sub(pat, QUOTA, QUOTA + 2) ~= NO_QUOTA and ARGV[6] ~= 'exchange' then
  local a, b, c, d, e, f = byte(pat, QUOTA, QUOTA + 5)
  local count = (a * 256 + b) * 256 + c
  emission = math.ceil(((d * 256 + e) * 256 + f) * 1000000 / count)
  tolerance = emission * count
end
local base = now_us
if tat then
  base = tonumber(tat) or now_us
  if base < now_us then
    base = now_us
  elseif base > now_us + tolerance then
    base = now_us + tolerance -- the clock went back, or the quota was lowered
  end
end
local backlog = base + emission - now_us
if backlog > tolerance then
  -- Store a clamped tat. Otherwise each refusal would clamp it to a later clock, and no request would ever pass.
  if tat and tonumber(tat) > base then call('SET', KEYS[2], base, 'PXAT', math.ceil(base / 1000)) end
  if is_short then return {2, now, backlog - tolerance, version} end
  return {2, now, backlog - tolerance, pat, token}
end
base = base + emission
call('SET', KEYS[2], base, 'PXAT', math.ceil(base / 1000))
if is_short then return {1, now, backlog, version} end
return {1, now, backlog, pat, token}
