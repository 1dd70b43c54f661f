-- Write an access token, if the record of its PAT is still the verified one.
--   KEYS[1]  PAT record     KEYS[2]  access token record
--   KEYS[3]  index of the tokens of its secret (left out where the exchange quota bounds their number)
--   ARGV[2]  the version of the PAT record as verified     ARGV[3]  the access token record     ARGV[4]  most tokens of the secret
-- Returns {1, now ms} written; {0, now ms} the PAT is gone or expired, or the overlap has ended;
--   {2, now ms, PAT record} the record has changed in more than its last use: look at it again;
--   {3, now ms, ms until one ends} the secret has too many tokens
local pat = redis.call('GET', KEYS[1])
if not pat then return {0, now} end
local token = ARGV[3]
if byte(pat, 1) ~= SCHEMA or sub(pat, VERSION, VERSION + 7) ~= ARGV[2] then return {2, now, pat} end
local expiry = u48(token, 5)
if not active(pat) or now >= expiry or not current(pat, sub(token, 2, 4)) then
  return {0, now}
end
local wait = full(KEYS[3], ARGV[4], now)
if wait then return {3, now, wait} end
write_token(KEYS[2], token, expiry, KEYS[3], now)
return {1, now}
