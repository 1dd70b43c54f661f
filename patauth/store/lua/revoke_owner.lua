-- Delete all PATs of an owner. Delete first: that works even when the memory is full.
--   KEYS[1]  owner record     KEYS[2]  owner index     KEYS[3]  ends that others wait for
--   KEYS[4…]  for each PAT: its record, tat of requests, tat of exchanges
--   ARGV[2]  the sequence at which the ids were read     ARGV[3]  not used: a deletion is never too late
-- Returns {1, ms to wait, for each PAT 1 deleted or 0 it was not there}; {0} the owner's PATs have changed since: read them again
if (redis.call('HGET', KEYS[1], 'sequence') or '0') ~= ARGV[2] then return {0} end
local answer, removed = {1, 0}, 0
for i = 4, #KEYS, 3 do
  local one = redis.call('DEL', KEYS[i])
  redis.call('DEL', KEYS[i + 1], KEYS[i + 2])
  answer[#answer + 1] = one
  removed = removed + one
end
redis.call('DEL', KEYS[2])
if removed > 0 then redis.call('HINCRBY', KEYS[1], 'sequence', 1) end
answer[2] = wait_for_others(KEYS[3], removed > 0)
return answer
