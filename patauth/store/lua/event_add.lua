-- Add events to a stream, each with a number; the numbers of a stream have no gaps.
--   KEYS[1]  stream     KEYS[2]  counts
--   ARGV[2]  the name of the number in the counts     ARGV[3]  most entries of the stream, about
--   ARGV[4]  events that were dropped since the last call     ARGV[5…]  events
-- Returns {how many}
local count = #ARGV - 4
local last = redis.call('HINCRBY', KEYS[2], ARGV[2], count)
for i = 1, count do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'number', last - count + i, 'event', ARGV[4 + i])
end
if ARGV[4] ~= '0' then redis.call('HINCRBY', KEYS[2], 'dropped', ARGV[4]) end
return {count}
