-- Create a PAT, if its name is free and its owner may have one more.
--   KEYS[1]  PAT record     KEYS[2]  owner record     KEYS[3]  owner index     KEYS[4]  PAT record of the maker
--   ARGV[2]  the PAT record; empty: only return the outcome, write nothing     ARGV[3]  name
--   ARGV[4]  owner index entry: id (16 bytes), expiry (6)
--   ARGV[5]  ms to keep the record from now on; empty: for ever
--   ARGV[6]  most PATs that have not expired     ARGV[7]  retention of expired PATs, ms
--   ARGV[8]  the latest instant to do this, ms     ARGV[9]  '1': the PAT of KEYS[4] must be active
-- Returns {0 made | 1 the owner is disabled | 2 the name is taken | 3 full | 4 the id exists | 5 too late: the caller
--   was told that it failed | 6 the maker is gone}
-- An engine whose memory is full refuses the first write, so it never leaves a part of a PAT.
if now > ARGV[8] + 0 then return {5} end
if redis.call('HGET', KEYS[2], 'disabled') == '1' then return {1} end
if ARGV[9] == '1' and not active(redis.call('GET', KEYS[4])) then return {6} end
local entries = redis.call('HGETALL', KEYS[3])
local alive, gone = 0, {}
for i = 1, #entries, 2 do
  local name, entry = entries[i], entries[i + 1]
  local expiry = u48(entry, 17)
  if now >= expiry + ARGV[7] then
    gone[#gone + 1] = name
  else
    if name == ARGV[3] then return {2} end
    if expiry > now then alive = alive + 1 end
  end
end
if alive >= ARGV[6] + 0 then return {3} end
if redis.call('EXISTS', KEYS[1]) == 1 then return {4} end
if ARGV[2] == '' then return {0} end

if ARGV[5] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[5])
end
for i = 1, #gone do redis.call('HDEL', KEYS[3], gone[i]) end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
redis.call('HSETNX', KEYS[2], 'schema', 1)
redis.call('HSETNX', KEYS[2], 'disabled', 0)
redis.call('HINCRBY', KEYS[2], 'sequence', 1)
return {0}
