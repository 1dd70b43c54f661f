-- Disable or enable an owner. Write that into the record of each PAT, so that a request needs no look-up for it.
--   KEYS[1]  owner record     KEYS[2]  ends that others wait for     KEYS[3…]  PAT records: all that the owner index held at that sequence
--   ARGV[2]  the sequence at which the ids were read     ARGV[3]  the latest instant to do this, ms
--   ARGV[4]  '1' disabled, '0' active     ARGV[5]  random bytes for the versions of the records, 8 each
-- Returns {1, ms to wait, number of PATs written}; {0} the owner's PATs have changed since: read them again; {2} one of them has
--   an unknown schema; {3} too late: the caller was told that it failed. 2 and 3 write nothing
if now > ARGV[3] + 0 then return {3} end
for i = 3, #KEYS do
  local pat = redis.call('GET', KEYS[i])
  if pat and byte(pat, 1) ~= SCHEMA then return {2} end
end
local sequence = redis.call('HGET', KEYS[1], 'sequence') or '0'
-- To disable, write the owner first: nobody can create a PAT from then on, so the next reading finds all of them.
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'schema', 1, 'disabled', 1) end
if sequence ~= ARGV[2] then return {0} end
redis.call('HSET', KEYS[1], 'schema', 1, 'disabled', ARGV[4])
redis.call('HINCRBY', KEYS[1], 'sequence', 1)
local state = 'a'
if ARGV[4] == '1' then state = 'd' end
local written = 0
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('SETRANGE', KEYS[i], STATE - 1, state) -- keeps the TTL
    redis.call('SETRANGE', KEYS[i], VERSION - 1, sub(ARGV[5], 8 * i - 23, 8 * i - 16))
    written = written + 1
  end
end
return {1, wait_for_others(KEYS[2], ARGV[4] == '1'), written}
