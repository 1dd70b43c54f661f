-- Delete a PAT. This also ends its access tokens, which name it. Delete first: that works even when the memory is full.
--   KEYS[1]  PAT record     KEYS[2]  tat of requests     KEYS[3]  tat of exchanges
--   KEYS[4]  owner record     KEYS[5]  owner index
--   ARGV[2]  id, 16 bytes
-- Returns {1 deleted | 0 it was not there}
local removed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2], KEYS[3])
local entries = redis.call('HGETALL', KEYS[5])
for i = 1, #entries, 2 do
  if sub(entries[i + 1], 1, 16) == ARGV[2] then redis.call('HDEL', KEYS[5], entries[i]) end
end
if removed == 1 then redis.call('HINCRBY', KEYS[4], 'sequence', 1) end
return {removed}
