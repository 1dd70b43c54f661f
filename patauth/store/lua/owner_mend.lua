-- Remove the entries of PATs that an owner index lists although they have no record: they went by their TTL or were lost.
--   KEYS[1…3]  owner index: names, by creation, by expiry     KEYS[4…]  PAT records
--   ARGV[2]  retention of expired PATs, ms     ARGV[3…]  owner index entries of the PATs
-- Returns {number of entries removed}
local removed = 0
for i = 4, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    drop_entry(KEYS[1], KEYS[2], KEYS[3], ARGV[i - 1])
    removed = removed + 1
  end
end
if removed > 0 then keep_index(KEYS[1], KEYS[2], KEYS[3], ARGV[2]) end
return {removed}
