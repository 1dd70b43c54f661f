-- Put a record with its last use in the place of the one that was read. The version stays: a use changes nothing that
-- anybody has judged.
--   KEYS[1]  PAT record
--   ARGV[2]  the record as it was read     ARGV[3]  the record to write
-- Returns {1 written | 0 it is gone}; {2, now ms, PAT record} it has changed: look at it again
local pat = redis.call('GET', KEYS[1])
if not pat then return {0} end
if pat ~= ARGV[2] then return {2, now, pat} end
redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
return {1}
