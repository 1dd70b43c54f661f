-- Delete a PAT. This also ends its access tokens, which name it. Delete first: that works even when the memory is full.
--   KEYS[1]  PAT record     KEYS[2]  tat of requests     KEYS[3]  tat of exchanges
--   KEYS[4…6]  owner index: names, by creation, by expiry
--   KEYS[7]  ends that others wait for     KEYS[8]  a key without content
--   KEYS[9]  PAT record of the caller     KEYS[10]  access token record of the caller
--   KEYS[11]  record to keep of it     KEYS[12]  index of its owner's removed PATs
--   ARGV[2]  the earliest and ARGV[3]  the latest instant to do this, ms     ARGV[4]  the caller (`refused`)
--   ARGV[5]  the generation of the PAT's secret that was shown (3 bytes); empty: none was
--   ARGV[6]  retention of expired PATs, and of removed ones, ms     ARGV[7]  most removed ones to keep
--   ARGV[8]  by whom and why it is removed (pack_note in record.py); empty: keep nothing of it
--   ARGV[9]  '1': somebody else than its owner asks for it
-- Returns {1 deleted, ms to wait, when it was removed, ms, if it is kept, else 0, entry of a removed PAT that is too
--   much, …}; {0 it was not there, ms to wait}; {5} too late; {6}, {7} the caller may not (`refused`);
--   {8} the secret was rotated away
if now < ARGV[2] + 0 or now > ARGV[3] + 0 then return {5} end
local no = refused(KEYS[9], KEYS[10], ARGV[4])
if no then return {no} end
local pat = redis.call('GET', KEYS[1])
if pat and byte(pat, 1) ~= SCHEMA then return {-1} end
if pat and ARGV[5] ~= '' and not current(pat, ARGV[5]) then return {8} end
local removed = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2], KEYS[3])
if pat then
  drop_entry(KEYS[4], KEYS[5], KEYS[6], entry_of(pat))
  keep_index(KEYS[4], KEYS[5], KEYS[6], ARGV[6])
else
  barrier(KEYS[8]) -- another caller has deleted it, and that may not be durable yet
end
local answer = {removed, wait_for_others(KEYS[7], pat and byte(pat, MARKS) % 2 == 1)}
if pat then
  answer[3] = 0
  local base = ARGV[9] == '1' and BY_OTHERS or 0
  if ARGV[8] ~= '' and keep_removed(KEYS[11], KEYS[12], pat, ARGV[8], base, ARGV[6]) then
    answer[3] = now
    local surplus = surplus_removed(KEYS[12], ARGV[7], ARGV[6], FEW)
    for i = 1, #surplus do answer[i + 3] = surplus[i] end
  end
end
return answer
