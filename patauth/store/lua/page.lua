-- A piece of a tenant index: entries whose score lies in a range, in its order.
--   KEYS[1]  tenant index
--   ARGV[2]  lowest score     ARGV[3]  highest     ARGV[4]  '1': from the highest down
--   ARGV[5]  how many of the range to pass over     ARGV[6]  how many to return
-- Returns {now ms, entries in the range, id, score, …}. By rank: what is passed over costs nothing.
local before = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2])
local total = redis.call('ZCOUNT', KEYS[1], ARGV[2], ARGV[3])
local first = before + ARGV[5]
local last = first + ARGV[6] - 1
if last > before + total - 1 then last = before + total - 1 end
local command = 'ZRANGE'
if ARGV[4] == '1' then
  local size = redis.call('ZCARD', KEYS[1])
  command = 'ZREVRANGE'
  first = size - before - total + ARGV[5]
  last = first + ARGV[6] - 1
  if last > size - before - 1 then last = size - before - 1 end
end
local answer = {now, total}
if last < first then return answer end
local entries = redis.call(command, KEYS[1], first, last, 'WITHSCORES')
for i = 1, #entries do answer[i + 2] = entries[i] end
return answer
