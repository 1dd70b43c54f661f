-- Write a last use, unless the record already has one on the same UTC day.
--   KEYS[1]  PAT record
--   ARGV[1]  when it was used, ms     ARGV[2]  the same instant as 6 bytes
-- Returns {1 written | 0 not written}
local pat = redis.call('GET', KEYS[1])
if not pat or byte(pat, 1) ~= SCHEMA then return {0} end
if floor(now / 86400000) <= floor(u48(pat, USED) / 86400000) then return {0} end
redis.call('SETRANGE', KEYS[1], USED - 1, ARGV[2]) -- keeps the TTL
return {1}
