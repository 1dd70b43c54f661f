-- Write an access token, if the record of its PAT is still the verified one.
--   KEYS[1]  PAT record     KEYS[2]  access token record
--   ARGV[2]  the PAT record as verified     ARGV[3]  the access token record
-- Returns {1, now ms} written; {0, now ms} the PAT is gone or expired, or the overlap has ended;
--   {2, now ms, PAT record} the record has changed in more than its last use: look at it again
local pat = redis.call('GET', KEYS[1])
if not pat then return {0, now} end
local seen, token = ARGV[2], ARGV[3]
if sub(pat, 1, USED - 1) ~= sub(seen, 1, USED - 1) or sub(pat, USED + 6) ~= sub(seen, USED + 6) then
  return {2, now, pat}
end
local left = u48(token, 5) - now
if now >= u48(pat, EXPIRY) or left <= 0 or byte(pat, STATE) ~= 97 or not current(pat, sub(token, 2, 4)) then
  return {0, now}
end
redis.call('SET', KEYS[2], token, 'PX', left)
return {1, now}
