-- Delete some PATs of an owner. Nobody makes a PAT for the owner until none is left. Delete first: that works even
-- when the memory is full.
--   KEYS[1]  exists while all PATs of the owner are being removed     KEYS[2…4]  owner index: names, by creation, by expiry
--   KEYS[5]  ends that others wait for     KEYS[6]  index of the owner's removed PATs
--   KEYS[7…]  for each PAT: its record, tat of requests, tat of exchanges, record to keep of it
--   ARGV[2]  ms for which nobody makes a PAT, if no other piece comes     ARGV[3]  most entries to return
--   ARGV[4]  retention of removed PATs, ms     ARGV[5]  most of them to keep
--   ARGV[6]  by whom and why they are removed (pack_note in record.py); empty: keep nothing of them
--   ARGV[7…]  the owner index entries of the PATs
-- Returns {1, ms to wait, now ms, how many removed PATs are too many, for each PAT 2 deleted and kept, 1 deleted or 0 it
--   was not there, entry of a removed PAT that is too much, …, entry of the next piece, …}
local removed, surplus = {}, {}
local ends, kept = false, false
for i = 7, #ARGV do
  local at = 7 + (i - 7) * 4
  local pat = redis.pcall('GET', KEYS[at]) -- whatever it is, it goes
  local one = redis.call('DEL', KEYS[at])
  redis.call('DEL', KEYS[at + 1], KEYS[at + 2])
  drop_entry(KEYS[2], KEYS[3], KEYS[4], ARGV[i])
  ends = ends or one == 1
  if type(pat) == 'string' and ARGV[6] ~= '' and keep_removed(KEYS[at + 3], KEYS[6], pat, ARGV[6], BY_OTHERS, ARGV[4]) then
    one, kept = 2, true
  end
  removed[#removed + 1] = one
end
if kept then surplus = surplus_removed(KEYS[6], ARGV[5], ARGV[4], #removed + FEW) end
local entries = redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1)
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
if #entries == 0 then redis.call('DEL', KEYS[1]) end
local answer = {1, wait_for_others(KEYS[5], ends), now, #surplus}
for i = 1, #removed do answer[#answer + 1] = removed[i] end
for i = 1, #surplus do answer[#answer + 1] = surplus[i] end
for i = 1, #entries do answer[#answer + 1] = entries[i] end
return answer
