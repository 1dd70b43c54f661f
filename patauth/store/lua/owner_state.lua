-- Write an owner's state into the records of some PATs, and note in the owner record how far that is. Without PATs,
-- look for what is left, and if nothing is, end the change.
--   KEYS[1]  owner record     KEYS[2]  owner index by creation     KEYS[3]  ends that others wait for
--   KEYS[4…]  PAT records
--   ARGV[2]  the owner record as the last piece has left it     ARGV[3]  owner index entry of the last PAT; empty: none
--   ARGV[4]  most entries to return     ARGV[5]  ms to keep the record of an owner who is enabled
--   ARGV[6]  random bytes for the versions of the records, 8 for each PAT
-- Returns {1, ms to wait, 1 if a PAT that was met by any call of this change has an unknown schema, the owner record
--   now, for each PAT 1 written, 0 it was not there, or 2 its schema is unknown, entry of the next piece, …};
--   {0, owner record} another call has begun since, or a failover has lost pieces
local owner = redis.call('GET', KEYS[1]) or ''
if owner ~= ARGV[2] then return {0, owner} end
local disabled = 0
if sub(owner, OWNER_STATE, OWNER_STATE) == 'd' then disabled = 1 end
local unread, last = sub(owner, OWNER_UNREAD, OWNER_UNREAD) == '1', sub(owner, OWNER_LAST)
if ARGV[3] ~= '' then last = ARGV[3] end
local pats = {}
for i = 4, #KEYS do pats[i] = redis.call('GET', KEYS[i]) end
local after = '-'
if last ~= '' then after = '(' .. last end
local entries = redis.call('ZRANGEBYLEX', KEYS[2], after, '+', 'LIMIT', 0, ARGV[4])

redis.call('DEL', KEYS[1]) -- first: that works even when the memory is full
local written, ends = {}, false
for i = 4, #KEYS do
  local pat = pats[i]
  if not pat then
    written[i - 3] = 0
  elseif byte(pat, 1) ~= SCHEMA then
    written[i - 3] = 2
    unread = true
  else
    local state, version = byte(pat, STATE), (i - 4) * 8
    -- SETRANGE keeps the TTL
    redis.call('SETRANGE', KEYS[i], STATE - 1, string.char(state - (state - ACTIVE) % 2 + disabled))
    redis.call('SETRANGE', KEYS[i], VERSION - 1, sub(ARGV[6], version + 1, version + 8))
    written[i - 3] = 1
    ends = disabled == 1
  end
end
local met = 0
if unread then met = 1 end
local ended = #KEYS == 3 and #entries == 0
owner = sub(owner, 1, OWNER_UNREAD - 1)
if not ended and last ~= '' then owner = owner .. met .. last end
if disabled == 1 then
  put(KEYS[1], owner, '')
elseif not ended then
  put(KEYS[1], owner, ARGV[5])
end
local answer = {1, wait_for_others(KEYS[3], ends), met, owner}
for i = 1, #written do answer[#answer + 1] = written[i] end
for i = 1, #entries do answer[#answer + 1] = entries[i] end
return answer
