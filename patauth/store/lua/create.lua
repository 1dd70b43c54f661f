-- Create a PAT, if its name is free and its owner may have one more.
--   KEYS[1]  PAT record     KEYS[2]  owner record     KEYS[3]  owner index
--   KEYS[4]  PAT record of the maker     KEYS[5]  access token record of the maker
--   ARGV[2]  the earliest and ARGV[3]  the latest instant to do this, ms     ARGV[4]  the maker (`refused` in prelude.lua)
--   ARGV[5]  the PAT record; empty: only return the outcome, write nothing     ARGV[6]  name
--   ARGV[7]  owner index entry: id (16 bytes), expiry (6)
--   ARGV[8]  ms to keep the record from now on; empty: for ever
--   ARGV[9]  most PATs that have not expired     ARGV[10]  retention of expired PATs, ms
-- Returns {0 made | 1 the owner is disabled | 2 the name is taken | 3 full | 4 the id exists | 5 too late: the caller
--   was told that it failed | 6, 7 the maker may not (`refused`)}
-- An engine whose memory is full refuses the first write, so it never leaves a part of a PAT.
if now < ARGV[2] + 0 or now > ARGV[3] + 0 then return {5} end
local no = refused(KEYS[4], KEYS[5], ARGV[4])
if no then return {no} end
if redis.call('HGET', KEYS[2], 'disabled') == '1' then return {1} end
local entries = redis.call('HGETALL', KEYS[3])
local alive, gone = 0, {}
for i = 1, #entries, 2 do
  local name, entry = entries[i], entries[i + 1]
  local expiry = u48(entry, 17)
  if now >= expiry + ARGV[10] then
    gone[#gone + 1] = name
  else
    if name == ARGV[6] then return {2} end
    if expiry > now then alive = alive + 1 end
  end
end
if alive >= ARGV[9] + 0 then return {3} end
if redis.call('EXISTS', KEYS[1]) == 1 then return {4} end
if ARGV[5] == '' then return {0} end

if ARGV[8] == '' then
  redis.call('SET', KEYS[1], ARGV[5])
else
  redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[8])
end
for i = 1, #gone do redis.call('HDEL', KEYS[3], gone[i]) end
redis.call('HSET', KEYS[3], ARGV[6], ARGV[7])
redis.call('HSETNX', KEYS[2], 'schema', 1)
redis.call('HSETNX', KEYS[2], 'disabled', 0)
redis.call('HINCRBY', KEYS[2], 'sequence', 1)
return {0}
