-- Forget a worker, and those that were killed a day ago, unless they have taken events that are not delivered.
--   KEYS[1]  stream     ARGV[2]  group     ARGV[3]  worker     ARGV[4]  ms of a day
-- Returns {how many}
local count = 0
for _, words in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[2])) do
  local known = {}
  for i = 1, #words, 2 do known[words[i]] = words[i + 1] end
  if known.pending == 0 and (known.name == ARGV[3] or known.idle > tonumber(ARGV[4])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[2], known.name)
    count = count + 1
  end
end
return {count}
