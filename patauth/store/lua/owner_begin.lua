-- Begin to disable or enable an owner. Nobody makes a PAT for a disabled owner from here on.
--   KEYS[1]  owner record     KEYS[2]  owner index by creation
--   ARGV[2]  the latest instant to do this, ms     ARGV[3]  the owner record, with a new epoch
--   ARGV[4]  ms to keep it; empty: for ever     ARGV[5]  most entries to return
-- Returns {1, entry of the first piece, …}; {5} too late: the caller was told that it failed; {-1} the owner record has
--   an unknown schema
if now > ARGV[2] + 0 then return {5} end
if owner_forbids(KEYS[1]) == -1 then return {-1} end
redis.call('DEL', KEYS[1]) -- first: that works even when the memory is full
put(KEYS[1], ARGV[3], ARGV[4])
local answer = {1}
local entries = redis.call('ZRANGE', KEYS[2], 0, ARGV[5] - 1)
for i = 1, #entries do answer[i + 1] = entries[i] end
return answer
