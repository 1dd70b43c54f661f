-- Put changed records in place of those that were read: of all named PATs of one owner, or of none.
--   KEYS[1]  owner record     KEYS[2]  owner index     KEYS[3]  PAT record of whoever asks     KEYS[4…]  PAT records
--   ARGV[2]  '1': a new secret; not while the owner is disabled     ARGV[3]  retention of expired ones, ms
--   ARGV[4]  when it is too late, ms     ARGV[5]  '1': KEYS[3] must be of an active PAT
--   then for each PAT:  its record as it was read, the record to write, the name before, the name from now on,
--     owner index entry (id, expiry), ms to keep the record beyond now (empty: for good)
-- Returns {0 written | 1 one is gone or expired | 2 one has changed (a later use apart): read again | 3 a name is
--   taken | 4 the owner is disabled | 5 too late: the caller was told that it failed | 6 whoever asks is gone}
-- The first write is one that an engine out of memory refuses: nothing is left half-made.
if now > ARGV[4] + 0 then return {5} end
if ARGV[2] == '1' and redis.call('HGET', KEYS[1], 'disabled') == '1' then return {4} end
if ARGV[5] == '1' and not active(redis.call('GET', KEYS[3])) then return {6} end
local records = {}
for i = 4, #KEYS do
  local at = 6 + (i - 4) * 6
  local pat, seen, new = redis.call('GET', KEYS[i]), ARGV[at], ARGV[at + 1]
  if not pat or now >= u48(pat, EXPIRY) then return {1} end
  if sub(pat, 1, USED - 1) ~= sub(seen, 1, USED - 1) or sub(pat, USED + 6) ~= sub(seen, USED + 6) then return {2} end
  if ARGV[at + 2] ~= ARGV[at + 3] then
    local entry = redis.call('HGET', KEYS[2], ARGV[at + 3])
    if entry and now < u48(entry, 17) + ARGV[3] then return {3} end
  end
  records[i] = sub(new, 1, USED - 1) .. sub(pat, USED, USED + 5) .. sub(new, USED + 6)
end
for i = 4, #KEYS do
  local at = 6 + (i - 4) * 6
  if ARGV[at + 5] == '' then
    redis.call('SET', KEYS[i], records[i])
  else
    redis.call('SET', KEYS[i], records[i], 'PX', ARGV[at + 5])
  end
  if ARGV[at + 2] ~= ARGV[at + 3] then redis.call('HDEL', KEYS[2], ARGV[at + 2]) end
  redis.call('HSET', KEYS[2], ARGV[at + 3], ARGV[at + 4])
end
return {0}
