-- One request: look-up, secret tag or access token, expiry, revocation, owner state, quota.
--   KEYS[1]  PAT record     KEYS[2]  tat of the quota, µs     KEYS[3]  access token record (if it is one)
--   ARGV[2]  secret tag, 16 bytes; empty with an access token
--   ARGV[3]  emission interval, µs     ARGV[4]  burst tolerance, µs (a whole quota)
--   ARGV[5]  '1': the record's own request quota applies, if it has one
-- Returns {verdict, now ms, µs, PAT record, access token record}
--   0  refused: unknown, wrong, and for an access token also expired or disabled; nothing charged
--   1  admitted, µs = backlog (tat - now); with a secret, state and hash are still to be checked
--   2  over the quota, µs = wait
--   3  a record of an unknown schema
--   4  refused: a secret that was rotated away, after its overlap
local pat, tat, token
if KEYS[3] then
  local got = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
  pat, tat, token = got[1], got[2], got[3]
else
  local got = redis.call('MGET', KEYS[1], KEYS[2])
  pat, tat = got[1], got[2]
end
if not pat then return {0, now} end
if byte(pat, 1) ~= SCHEMA then return {3, now} end

if KEYS[3] then
  if not token then return {0, now} end
  if byte(token, 1) ~= SCHEMA then return {3, now} end
  if now >= u48(token, 5) or now >= u48(pat, EXPIRY) or byte(pat, STATE) ~= 97 or not current(pat, sub(token, 2, 4)) then
    return {0, now}
  end
else
  local at = SLOT
  if sub(pat, at + TAG, at + TAG + 15) ~= ARGV[2] then
    at = SLOT + SLOT_SIZE
    if byte(pat, SLOTS) ~= 50 or sub(pat, at + TAG, at + TAG + 15) ~= ARGV[2] then return {0, now} end
    if now >= u48(pat, OVERLAP) then return {4, now} end
  end
end

-- GCRA (quota.py has the words and the same arithmetic)
local emission, tolerance = ARGV[3] + 0, ARGV[4] + 0
if ARGV[5] == '1' then
  local a, b, c, d, e, f = byte(pat, QUOTA, QUOTA + 5)
  local count = (a * 256 + b) * 256 + c
  if count > 0 then
    emission = math.ceil(((d * 256 + e) * 256 + f) * 1000000 / count)
    tolerance = emission * count
  end
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
  -- A clamped tat is kept: else each refusal would clamp against a later clock, and none would ever pass.
  if tat and tonumber(tat) > base then redis.call('SET', KEYS[2], base, 'PX', math.ceil((base - now_us) / 1000)) end
  return {2, now, backlog - tolerance, pat, token}
end
redis.call('SET', KEYS[2], base + emission, 'PX', math.ceil(backlog / 1000))
return {1, now, backlog, pat, token}
