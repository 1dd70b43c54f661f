-- Remove all PATs of an owner. Deletes first: that works out of memory too.
--   KEYS[1]  owner record     KEYS[2]  owner index
--   KEYS[3…]  for each PAT: its record, tat of requests, tat of exchanges
--   ARGV[2]  the sequence at which the ids were read
-- Returns {1, PATs removed}, or {0} if the owner's PATs have changed since: read them again
if (redis.call('HGET', KEYS[1], 'sequence') or '0') ~= ARGV[2] then return {0} end
local removed = 0
for i = 3, #KEYS, 3 do
  removed = removed + redis.call('DEL', KEYS[i])
  redis.call('DEL', KEYS[i + 1], KEYS[i + 2])
end
redis.call('DEL', KEYS[2])
if removed > 0 then redis.call('HINCRBY', KEYS[1], 'sequence', 1) end
return {1, removed}
