-- Return a part of an owner's PATs in order of creation, and what a page says of all of them. Remove a few entries of PATs
-- that are past their retention.
--   KEYS[1…3]  owner index: names, by creation, by expiry     KEYS[4]  owner record
--   ARGV[2]  retention of expired PATs, ms     ARGV[3]  most entries to remove
--   ARGV[4]  how many entries to skip     ARGV[5]  most entries to return     ARGV[6]  '1': the newest first
--   ARGV[7]  return also those that expire within so many ms, the first to expire first     ARGV[8]  most of these
-- Returns {now ms, number of entries that are left to remove, number of all PATs, number of those that have not expired,
--   1 if the owner is disabled, else 0, {entry of the part, …}, {entry that expires soon, …}}
local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[2], 'LIMIT', 0, ARGV[3])
for i = 1, #old do drop_entry(KEYS[1], KEYS[2], KEYS[3], old[i]) end
local left = redis.call('ZCOUNT', KEYS[3], '-inf', now - ARGV[2])
local total = redis.call('ZCARD', KEYS[3])
local unexpired = total - redis.call('ZCOUNT', KEYS[3], '-inf', now)
local disabled = owner_forbids(KEYS[4], 1) == 1 and 1 or 0
local part, soon = {}, {}
if ARGV[5] ~= '0' then
  local range = ARGV[6] == '1' and 'ZREVRANGE' or 'ZRANGE'
  part = redis.call(range, KEYS[2], ARGV[4], ARGV[4] + ARGV[5] - 1)
end
if ARGV[8] ~= '0' then
  soon = redis.call('ZRANGEBYSCORE', KEYS[3], now + 1, now + ARGV[7], 'LIMIT', 0, ARGV[8])
end
return {now, left, total, unexpired, disabled, part, soon}
