-- Seal a copy that is complete: processes can use it from here on.
--   KEYS[1]  store key
--   ARGV[2]  what the copy has put in its place     ARGV[3]  the key with its seal
-- Returns {1 done | 0 another copy has begun}
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return {0} end
redis.call('SET', KEYS[1], ARGV[3])
return {1}
