-- Exchange a secret that was proven before: charge the exchange quota, and write an access token. It is done if nothing
-- has changed since and nothing forbids it. Else nothing is charged or written, and the long way says why.
--   KEYS[1]  PAT record     KEYS[2]  tat of the exchange quota, µs     KEYS[3]  access token record
--   KEYS[4]  index of the tokens of its secret (left out where the exchange quota bounds their number)
--   ARGV[1]  the version of the PAT record by which the secret was proven, 8 bytes
--   ARGV[2]  from when, and ARGV[3] until when the secret may be used by that record, ms
--   ARGV[4]  emission interval, µs     ARGV[5]  burst tolerance, µs (a whole quota)
--   ARGV[6]  how long a token lives, ms     ARGV[7], ARGV[8]  the access token record before and after its expiry
--   ARGV[9]  most tokens of the secret
--   ARGV[10]  now, ms; without it, the server's clock (only tests give this)
-- Returns {1, now ms, backlog of the quota µs, expiry of the token ms, version}; {0, now ms}
local now_us
if ARGV[10] then
  now_us = ARGV[10] * 1000
else
  local time = redis.call('TIME')
  now_us = time[1] * 1000000 + time[2]
end
local now = (now_us - now_us % 1000) / 1000

local pat, ends = redis.call('GET', KEYS[1]), ARGV[3] + 0
if not pat or string.sub(pat, VERSION, VERSION + 7) ~= ARGV[1] or now < ARGV[2] + 0 or now >= ends
  or full(KEYS[4], ARGV[9], now) then
  return {0, now}
end
local charged = charge(KEYS[2], ARGV[4] + 0, ARGV[5] + 0, now_us)
if charged[1] == 0 then return {0, now} end

local expiry, floor = math.min(now + ARGV[6], ends), math.floor
local packed = string.char(
  floor(expiry / 1099511627776) % 256, floor(expiry / 4294967296) % 256, floor(expiry / 16777216) % 256,
  floor(expiry / 65536) % 256, floor(expiry / 256) % 256, expiry % 256)
write_token(KEYS[3], ARGV[7] .. packed .. ARGV[8], expiry, KEYS[4], now)
return {1, now, charged[2], expiry, ARGV[1]}
