-- Replace the records that were read by changed ones: those of all given PATs of one owner, or none.
--   KEYS[1]  owner record     KEYS[2]  owner index     KEYS[3]  ends that others wait for
--   KEYS[4]  PAT record of the caller     KEYS[5]  access token record of the caller     KEYS[6…]  PAT records
--   ARGV[2]  the earliest and ARGV[3]  the latest instant to do this, ms     ARGV[4]  the caller (`refused`)
--   ARGV[5]  '1': a new secret, so refuse while the owner is disabled     ARGV[6]  retention of expired PATs, ms
--   ARGV[7]  '1': it ends something that could change PATs of others
--   then for each PAT:  its record as it was read, the record to write, the old name, the new name,
--     owner index entry (id, expiry), ms to keep the record from now on (empty: for ever)
-- Returns {0 written, ms to wait | 1 one is gone or expired | 2 one has changed in more than its last use: read again | 3 a name is
--   taken | 4 the owner is disabled | 5 too late: the caller was told that it failed | 6, 7 the caller may
--   not (`refused`)}
-- An engine whose memory is full refuses the first write, so it never leaves a part of the changes.
if now < ARGV[2] + 0 or now > ARGV[3] + 0 then return {5} end
local no = refused(KEYS[4], KEYS[5], ARGV[4])
if no then return {no} end
if ARGV[5] == '1' and redis.call('HGET', KEYS[1], 'disabled') == '1' then return {4} end
local records = {}
for i = 6, #KEYS do
  local at = 8 + (i - 6) * 6
  local pat, seen, new = redis.call('GET', KEYS[i]), ARGV[at], ARGV[at + 1]
  if not pat or now >= u48(pat, EXPIRY) then return {1} end
  if sub(pat, 1, USED - 1) ~= sub(seen, 1, USED - 1) or sub(pat, USED + 6) ~= sub(seen, USED + 6) then return {2} end
  if ARGV[at + 2] ~= ARGV[at + 3] then
    local entry = redis.call('HGET', KEYS[2], ARGV[at + 3])
    if entry and now < u48(entry, 17) + ARGV[6] then return {3} end
  end
  records[i] = sub(new, 1, USED - 1) .. sub(pat, USED, USED + 5) .. sub(new, USED + 6)
end
for i = 6, #KEYS do
  local at = 8 + (i - 6) * 6
  if ARGV[at + 5] == '' then
    redis.call('SET', KEYS[i], records[i])
  else
    redis.call('SET', KEYS[i], records[i], 'PX', ARGV[at + 5])
  end
  if ARGV[at + 2] ~= ARGV[at + 3] then redis.call('HDEL', KEYS[2], ARGV[at + 2]) end
  redis.call('HSET', KEYS[2], ARGV[at + 3], ARGV[at + 4])
end
return {0, wait_for_others(KEYS[3], ARGV[7] == '1')}
