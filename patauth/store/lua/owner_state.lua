-- Write whether the owner is disabled into the records of some PATs, so that a request needs no look-up for it.
--   KEYS[1]  owner record     KEYS[2]  owner index by creation     KEYS[3]  ends that others wait for
--   KEYS[4…]  PAT records; none: end the change, if there is none left
--   ARGV[2]  the owner record as the last piece has left it     ARGV[3]  owner index entry of the last PAT; empty: none
--   ARGV[4]  most entries to return     ARGV[5]  ms to keep the record of an owner who is enabled
--   ARGV[6]  random bytes for the versions of the records, 8 each
-- Returns {1, ms to wait, for each PAT 1 written, 0 it was not there, or 2 its schema is unknown, entry of the next
--   piece, …}; {0, owner record} another call has begun since, or a failover has lost pieces
-- The owner record ends with the entry of the last PAT of the last piece. So a piece that is lost is noticed.
local owner = redis.call('GET', KEYS[1]) or ''
if owner ~= ARGV[2] then return {0, owner} end
redis.call('DEL', KEYS[1]) -- first: that works even when the memory is full
local disabled, ends = 0, false
local written = {}
if sub(owner, 2, 2) == 'd' then disabled = 1 end
for i = 4, #KEYS do
  local pat = redis.call('GET', KEYS[i])
  if not pat then
    written[#written + 1] = 0
  elseif byte(pat, 1) ~= SCHEMA then
    written[#written + 1] = 2
  else
    local state = byte(pat, STATE)
    -- SETRANGE keeps the TTL
    redis.call('SETRANGE', KEYS[i], STATE - 1, string.char(state - (state - 97) % 2 + disabled))
    redis.call('SETRANGE', KEYS[i], VERSION - 1, sub(ARGV[6], 8 * i - 31, 8 * i - 24))
    written[#written + 1] = 1
    ends = disabled == 1
  end
end
if ARGV[3] ~= '' then owner = sub(owner, 1, 10) .. ARGV[3] end
local after = '-'
if #owner > 10 then after = '(' .. sub(owner, 11) end
local entries = redis.call('ZRANGEBYLEX', KEYS[2], after, '+', 'LIMIT', 0, ARGV[4])
local ended = #KEYS == 3 and #entries == 0
if ended then owner = sub(owner, 1, 10) end
if disabled == 1 then
  redis.call('SET', KEYS[1], owner)
elseif not ended then
  redis.call('SET', KEYS[1], owner, 'PX', ARGV[5])
end
local answer = {1, wait_for_others(KEYS[3], ends)}
for i = 1, #written do answer[#answer + 1] = written[i] end
for i = 1, #entries do answer[#answer + 1] = entries[i] end
return answer
