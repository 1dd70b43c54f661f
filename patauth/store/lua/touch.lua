-- Write a last use, unless the record already has one on the same UTC day or later. A last use that is more than
-- a day ahead is the trace of a clock that was wrong, and is written over.
--   KEYS[1]  PAT record
--   ARGV[1]  when it was used, ms     ARGV[2]  the same instant as 6 bytes
-- Returns {2 written over a later one | 1 written | 0 not written}
local pat = redis.call('GET', KEYS[1])
if not pat or byte(pat, 1) ~= SCHEMA then return {0} end
local used = u48(pat, USED)
if used <= now + 86400000 and floor(now / 86400000) <= floor(used / 86400000) then return {0} end
redis.call('SETRANGE', KEYS[1], USED - 1, ARGV[2]) -- keeps the TTL
return {used > now and 2 or 1}
