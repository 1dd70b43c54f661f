-- Take events for a receiver: those that another worker has left, else the next ones.
--   KEYS[1]  stream     KEYS[2]  counts
--   ARGV[2]  group     ARGV[3]  worker     ARGV[4]  the name of the group's number in the counts
--   ARGV[5]  how many     ARGV[6]  ms after which what was taken counts as left     ARGV[7]  where to look for it
-- Returns {how many the stream has lost before they were delivered, where to look next, entry, event, …}
local lost = 0
local found = redis.call('XAUTOCLAIM', KEYS[1], ARGV[2], ARGV[3], ARGV[6], ARGV[7], 'COUNT', ARGV[5])
local entries, gone = found[2], found[3]
if gone then lost = #gone end
if #entries == 0 then
  local read = redis.call('XREADGROUP', 'GROUP', ARGV[2], ARGV[3], 'COUNT', ARGV[5], 'STREAMS', KEYS[1], '>')
  entries = read and read[1] and read[1][2] or {}
  local last = tonumber(redis.call('HGET', KEYS[2], ARGV[4])) or 0
  for _, entry in ipairs(entries) do
    local number = entry[2][1] == 'number' and tonumber(entry[2][2])
    if number and number > last then
      lost = lost + number - last - 1
      last = number
    end
  end
  if #entries > 0 then redis.call('HSET', KEYS[2], ARGV[4], last) end
end
local answer = {lost, found[1]}
for _, entry in ipairs(entries) do
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = entry[2][3] == 'event' and entry[2][4] or ''
end
if lost > 0 then redis.call('HINCRBY', KEYS[2], 'lost', lost) end
return answer
