-- Create a PAT, if its name is free and its owner may have one more. Remove a few that have expired.
--   KEYS[1]  PAT record     KEYS[2…4]  owner index: names, by creation, by expiry
--   KEYS[5]  owner record     KEYS[6]  exists while all PATs of the owner are being removed
--   KEYS[7]  what is kept of a removed PAT with this id
--   KEYS[8]  PAT record of the maker     KEYS[9]  access token record of the maker
--   KEYS[10…]  for each PAT to remove: its record, tat of requests, tat of exchanges
--   ARGV[2]  name tag     ARGV[3]  most PATs that have not expired     ARGV[4]  most expired ones to keep
--   ARGV[5]  their retention, ms     ARGV[6]  the PAT record; without it and what follows: write nothing
--   ARGV[7]  the earliest and ARGV[8]  the latest instant to do this, ms     ARGV[9]  the maker (`refused` in prelude.lua)
--   ARGV[10]  owner index entry     ARGV[11]  expiry, ms     ARGV[12]  ms to keep the record from now on; empty: for ever
--   ARGV[13…]  owner index entries of the PATs to remove
-- Returns {0 made, entries removed, …}; {1} the owner is disabled; {2} the name is taken; {3} full; {4} there is a PAT
--   with this id, or something is kept of one; {5} too late: the caller was told that it failed; {6}, {7} the maker may
--   not (`refused`); {9} all PATs of the owner are being removed; {-1} the owner record has an unknown schema.
--   Without a record {the same code, now ms, entry, …}: of the PATs that a creation has to remove, the oldest first
-- An engine whose memory is full refuses the first write, so it never leaves a part of a PAT.
local MOST_REMOVED = 10 -- by one creation
local record, retention = ARGV[6], ARGV[5] + 0
local expired = redis.call('ZCOUNT', KEYS[4], '-inf', now)

local function forbidden()
  if redis.call('EXISTS', KEYS[1], KEYS[7]) > 0 then return 4 end -- first: of two equal creations, the other was made
  local no = owner_forbids(KEYS[5], 1)
  if no then return no end
  if redis.call('EXISTS', KEYS[6]) == 1 then return 9 end
  if taken(KEYS[2], KEYS[4], ARGV[2], retention) then return 2 end
  if redis.call('ZCARD', KEYS[4]) - expired >= ARGV[3] + 0 then return 3 end
  return 0
end

local answer
if not record then
  answer = {forbidden(), now}
  if expired > 0 then
    local too_old = redis.call('ZCOUNT', KEYS[4], '-inf', now - retention)
    local count = math.min(math.max(expired - ARGV[4], too_old), MOST_REMOVED)
    if count > 0 then
      local entries = redis.call('ZRANGE', KEYS[4], 0, count - 1)
      for i = 1, #entries do answer[i + 2] = entries[i] end
    end
  end
  return answer
end

if now < ARGV[7] + 0 or now > ARGV[8] + 0 then return {5} end
local no = refused(KEYS[8], KEYS[9], ARGV[9])
if no then return {no} end
no = forbidden()
if no ~= 0 then return {no} end
put(KEYS[1], record, ARGV[12])
answer = {0}
for i = 13, #ARGV do
  local expiry = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[i]))
  if expiry and now >= expiry and (expired > ARGV[4] + 0 or now >= expiry + retention) then
    local at = 10 + (i - 13) * 3
    redis.call('DEL', KEYS[at], KEYS[at + 1], KEYS[at + 2])
    drop_entry(KEYS[2], KEYS[3], KEYS[4], ARGV[i])
    expired = expired - 1
    answer[#answer + 1] = ARGV[i]
  end
end
add_entry(KEYS[2], KEYS[3], KEYS[4], ARGV[10], ARGV[11])
keep_index(KEYS[2], KEYS[3], KEYS[4], retention)
return answer
