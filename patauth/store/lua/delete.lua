-- Delete a PAT. This also ends its access tokens, which name it. Delete first: that works even when the memory is full.
--   KEYS[1]  PAT record     KEYS[2]  tat of requests     KEYS[3]  tat of exchanges
--   KEYS[4]  owner record     KEYS[5]  owner index     KEYS[6]  ends that others wait for
--   KEYS[7]  PAT record of the caller     KEYS[8]  access token record of the caller
--   ARGV[2]  the earliest and ARGV[3]  the latest instant to do this, ms     ARGV[4]  the caller (`refused`)
--   ARGV[5]  id, 16 bytes
-- Returns {1 deleted | 0 it was not there, ms to wait}; {5} too late; {6}, {7} the caller may not (`refused`)
if now < ARGV[2] + 0 or now > ARGV[3] + 0 then return {5} end
local no = refused(KEYS[7], KEYS[8], ARGV[4])
if no then return {no} end
local pat = redis.call('GET', KEYS[1])
local ends = pat and byte(pat, 1) == SCHEMA and byte(pat, MARKS) % 2 == 1
local removed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2], KEYS[3])
local entries = redis.call('HGETALL', KEYS[5])
for i = 1, #entries, 2 do
  if sub(entries[i + 1], 1, 16) == ARGV[5] then redis.call('HDEL', KEYS[5], entries[i]) end
end
if removed == 1 then redis.call('HINCRBY', KEYS[4], 'sequence', 1) end
return {removed, wait_for_others(KEYS[6], ends)}
