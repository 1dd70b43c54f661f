-- Take events for a receiver: the next ones, and those whose turn has come again.
--   KEYS[1]  stream     KEYS[2]  counts
--   ARGV[2]  group     ARGV[3]  worker     ARGV[4]  the name of the group's number in the counts
--   ARGV[5]  how many     ARGV[6]  ms after which what was taken counts as left; each refusal doubles them
--   ARGV[7]  most ms that a refused event waits     ARGV[8]  where to look for these
-- Returns {how many the stream has lost before they were delivered, where to look next, entry, event, …}
-- What others have left takes at most half of the places, so that new events always have their turn. The number of
-- deliveries that the group keeps of an entry is one more than its refusals.
local LOOK = 1000
local stream, group, worker, count = KEYS[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local lost, again = 0, {}
local pending = redis.call('XPENDING', stream, group, ARGV[8], '+', LOOK)
local place = #pending == LOOK and '(' .. pending[LOOK][1] or '0-0'
for _, one in ipairs(pending) do
  if #again == math.ceil(count / 2) then
    place = one[1]
    break
  end
  if one[3] >= math.min(ARGV[6] * 2 ^ (one[4] - 1), tonumber(ARGV[7])) then
    local claimed = redis.call('XCLAIM', stream, group, worker, 0, one[1], 'RETRYCOUNT', one[4])[1]
    if claimed then
      again[#again + 1] = claimed
    else
      redis.call('XACK', stream, group, one[1])
      lost = lost + 1
    end
  end
end

local read = count > #again
  and redis.call('XREADGROUP', 'GROUP', group, worker, 'COUNT', count - #again, 'STREAMS', stream, '>')
local entries = read and read[1] and read[1][2] or {}
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[4])) or 0
for _, entry in ipairs(entries) do
  local number = entry[2][1] == 'number' and tonumber(entry[2][2])
  if number and number > last then
    lost = lost + number - last - 1
    last = number
  end
end
if #entries > 0 then redis.call('HSET', KEYS[2], ARGV[4], last) end

local answer = {lost, place}
for _, some in ipairs({entries, again}) do
  for _, entry in ipairs(some) do
    answer[#answer + 1] = entry[1]
    answer[#answer + 1] = entry[2][3] == 'event' and entry[2][4] or ''
  end
end
if lost > 0 then redis.call('HINCRBY', KEYS[2], 'lost', lost) end
return answer
