-- Return what the two streams have and have lost, and what waits for each group: what it has not read, and what its
-- workers have taken and not delivered.
--   KEYS[1], KEYS[2]  streams     KEYS[3]  counts     ARGV[2], ARGV[3]  the names of the streams' numbers in the counts
-- Returns {length, length, age of the oldest event, {name, number, …}, {group, how many, age of the oldest, …}}
-- An age is in ms, by the clock that gives entries their places; 0 without an event.
local time = redis.call('TIME')
local counts, waiting, ages, known = redis.call('HGETALL', KEYS[3]), {}, {}, {}
for i = 1, #counts, 2 do known[counts[i]] = tonumber(counts[i + 1]) or 0 end

local function age(place)
  return math.max(0, time[1] * 1000 + floor(time[2] / 1000) - tonumber(string.match(place, '^%d+')))
end

local function age_after(stream, place)
  local entry = redis.call('XRANGE', stream, place, '+', 'COUNT', 1)[1]
  return entry and age(entry[1]) or 0
end

for at = 1, 2 do
  local stream, name = KEYS[at], ARGV[at + 1]
  ages[at] = age_after(stream, '-')
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err and redis.call('EXISTS', stream) == 1 then return groups end
  for _, words in ipairs(groups) do
    local group = {}
    for i = 1, #words, 2 do group[words[i]] = words[i + 1] end
    local unread = math.max(0, (known[name] or 0) - (known[name .. ':' .. group.name] or 0))
    local oldest = unread > 0 and age_after(stream, '(' .. group['last-delivered-id']) or 0
    if group.pending > 0 then oldest = math.max(oldest, age(redis.call('XPENDING', stream, group.name)[2])) end
    for _, word in ipairs({group.name, unread + group.pending, oldest}) do waiting[#waiting + 1] = word end
  end
end
local first, second = redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[2])
return {first, second, math.max(ages[1], ages[2]), counts, waiting}
