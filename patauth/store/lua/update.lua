-- Replace the records that were read by changed ones: those of all given PATs of one owner, or none.
--   KEYS[1…3]  owner index: names, by creation, by expiry     KEYS[4]  owner record     KEYS[5]  ends that others wait for
--   KEYS[6]  PAT record of the caller     KEYS[7]  access token record of the caller     KEYS[8…]  PAT records
--   ARGV[2]  the earliest and ARGV[3]  the latest instant to do this, ms     ARGV[4]  the caller (`refused`)
--   ARGV[5]  '1': a new secret, so refuse while the owner is disabled     ARGV[6]  retention of expired PATs, ms
--   ARGV[7]  '1': it ends something     ARGV[8]  '1': and that could change PATs of others
--   then for each PAT:  its record as it was read, the record to write, ms to keep it from now on (empty: for ever)
-- Returns {0 written, ms to wait | 1 one is gone or expired | 2 one has changed: read again |
--   3 a name is taken | 4 the owner is disabled | 5 too late: the caller was told that it failed | 6, 7 the caller
--   may not (`refused`) | -1 the owner record has an unknown schema}
-- An engine whose memory is full refuses the first write, so it never leaves a part of the changes. But it allows a
-- removal, and then every write of the script. So what ends something removes first.
if now < ARGV[2] + 0 or now > ARGV[3] + 0 then return {5} end
local no = refused(KEYS[6], KEYS[7], ARGV[4])
if no then return {no} end
no = ARGV[5] == '1' and owner_forbids(KEYS[4], 4)
if no then return {no} end
local before, after = {}, {}
for i = 8, #KEYS do
  local at = 9 + (i - 8) * 3
  local pat, seen, new = redis.call('GET', KEYS[i]), ARGV[at], ARGV[at + 1]
  if not pat or now >= u48(pat, EXPIRY) then return {1} end
  if pat ~= seen then return {2} end
  local name = sub(new, NAME, NAME + 7)
  if name ~= sub(pat, NAME, NAME + 7) and taken(KEYS[1], KEYS[3], name, ARGV[6]) then return {3} end
  before[i] = pat
  after[i] = new
end
if ARGV[7] == '1' then redis.call('DEL', KEYS[8]) end
for i = 8, #KEYS do
  put(KEYS[i], after[i], ARGV[11 + (i - 8) * 3])
  local old, new = entry_of(before[i]), entry_of(after[i])
  if old ~= new then drop_entry(KEYS[1], KEYS[2], KEYS[3], old) end
  add_entry(KEYS[1], KEYS[2], KEYS[3], new, u48(after[i], EXPIRY))
end
keep_index(KEYS[1], KEYS[2], KEYS[3], ARGV[6])
return {0, wait_for_others(KEYS[5], ARGV[8] == '1')}
