-- Make the group of a receiver, unless there is one. It begins with the oldest event.
--   KEYS[1]  stream     KEYS[2]  counts     ARGV[2]  group     ARGV[3]  the name of its number in the counts
-- Returns {1 made | 0 there was one}
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
if type(made) == 'table' and made.err then
  if string.find(tostring(made.err), 'BUSYGROUP') then return {0} end
  return made
end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
redis.call('HSET', KEYS[2], ARGV[3], first and first[2][2] - 1 or 0)
return {1}
