-- Delete some PATs of an owner. Nobody makes a PAT for the owner until none is left. Delete first: that works even
-- when the memory is full.
--   KEYS[1]  exists while all PATs of the owner are being removed     KEYS[2…4]  owner index: names, by creation, by expiry
--   KEYS[5]  ends that others wait for     KEYS[6…]  for each PAT: its record, tat of requests, tat of exchanges
--   ARGV[2]  ms for which nobody makes a PAT, if no other piece comes     ARGV[3]  most entries to return
--   ARGV[4…]  the owner index entries of the PATs
-- Returns {1, ms to wait, for each PAT 1 deleted or 0 it was not there, entry of the next piece, …}
local removed = {}
local ends = false
for i = 4, #ARGV do
  local at = 6 + (i - 4) * 3
  local one = redis.call('DEL', KEYS[at])
  redis.call('DEL', KEYS[at + 1], KEYS[at + 2])
  drop_entry(KEYS[2], KEYS[3], KEYS[4], ARGV[i])
  removed[#removed + 1] = one
  ends = ends or one == 1
end
local entries = redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1)
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
if #entries == 0 then redis.call('DEL', KEYS[1]) end
local answer = {1, wait_for_others(KEYS[5], ends)}
for i = 1, #removed do answer[#answer + 1] = removed[i] end
for i = 1, #entries do answer[#answer + 1] = entries[i] end
return answer
