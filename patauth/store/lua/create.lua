-- Create a PAT, if its name is free and its owner may have one more. Remove a few that have expired.
--   KEYS[1]  PAT record     KEYS[2…4]  owner index: names, by creation, by expiry
--   KEYS[5]  owner record     KEYS[6]  exists while all PATs of the owner are being removed
--   KEYS[7]  PAT record of the maker     KEYS[8]  access token record of the maker
--   KEYS[9]  what is kept of a removed PAT with this id
--   KEYS[10…]  for each PAT to remove: its record, tat of requests, tat of exchanges
--   ARGV[2]  the earliest and ARGV[3]  the latest instant to do this, ms     ARGV[4]  the maker (`refused` in prelude.lua)
--   ARGV[5]  the PAT record; empty: only return the outcome, write nothing     ARGV[6]  owner index entry
--   ARGV[7]  expiry, ms     ARGV[8]  ms to keep the record from now on; empty: for ever
--   ARGV[9]  most PATs that have not expired     ARGV[10]  most expired ones to keep     ARGV[11]  their retention, ms
--   ARGV[12…]  owner index entries of the PATs to remove
-- Returns {0 made, entries removed, …}; {1} the owner is disabled; {2} the name is taken; {3} full; {4} there is a PAT
--   with this id, or something is kept of one; {5} too late: the caller was told that it failed; {6}, {7} the maker may
--   not (`refused`); {9} all PATs of the owner are being removed; {-1} the owner record has an unknown schema
-- An engine whose memory is full refuses the first write, so it never leaves a part of a PAT.
if now < ARGV[2] + 0 or now > ARGV[3] + 0 then return {5} end
local no = refused(KEYS[7], KEYS[8], ARGV[4])
if no then return {no} end
if redis.call('EXISTS', KEYS[1], KEYS[9]) > 0 then return {4} end -- first: of two equal creations, the other was made
no = owner_forbids(KEYS[5], 1)
if no then return {no} end
if redis.call('EXISTS', KEYS[6]) == 1 then return {9} end
if taken(KEYS[2], KEYS[4], sub(ARGV[6], ENTRY_NAME), ARGV[11]) then return {2} end
local expired = redis.call('ZCOUNT', KEYS[4], '-inf', now)
if redis.call('ZCARD', KEYS[4]) - expired >= ARGV[9] + 0 then return {3} end
if ARGV[5] == '' then return {0} end

put(KEYS[1], ARGV[5], ARGV[8])
local answer = {0}
for i = 12, #ARGV do
  local expiry = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[i]))
  if expiry and now >= expiry and (expired > ARGV[10] + 0 or now >= expiry + ARGV[11]) then
    local at = 10 + (i - 12) * 3
    redis.call('DEL', KEYS[at], KEYS[at + 1], KEYS[at + 2])
    drop_entry(KEYS[2], KEYS[3], KEYS[4], ARGV[i])
    expired = expired - 1
    answer[#answer + 1] = ARGV[i]
  end
end
add_entry(KEYS[2], KEYS[3], KEYS[4], ARGV[6], ARGV[7])
keep_index(KEYS[2], KEYS[3], KEYS[4], ARGV[11])
return answer
