-- Return a part of an owner's PATs in order of creation. Remove a few entries of PATs that are past their retention.
--   KEYS[1…3]  owner index: names, by creation, by expiry
--   ARGV[2]  retention of expired PATs, ms     ARGV[3]  most entries to remove
--   ARGV[4]  how many entries to skip     ARGV[5]  most entries to return
-- Returns {now ms, number of entries that are left to remove, number of all PATs, entry, …}
local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[2], 'LIMIT', 0, ARGV[3])
for i = 1, #old do drop_entry(KEYS[1], KEYS[2], KEYS[3], old[i]) end
local left = redis.call('ZCOUNT', KEYS[3], '-inf', now - ARGV[2])
local answer = {now, left, redis.call('ZCARD', KEYS[3])}
if ARGV[5] == '0' then return answer end
local entries = redis.call('ZRANGE', KEYS[2], ARGV[4], ARGV[4] + ARGV[5] - 1)
for i = 1, #entries do answer[i + 3] = entries[i] end
return answer
