-- Note that the receiver has refused an event: its turn comes again later, or after so many refusals never.
--   KEYS[1]  stream     KEYS[2]  counts
--   ARGV[2]  group     ARGV[3]  worker     ARGV[4]  most refusals     ARGV[5]  entry
-- Returns {1 if it is given up, else 0}
local stream, group, place = KEYS[1], ARGV[2], ARGV[5]
local pending = redis.call('XPENDING', stream, group, place, place, 1)[1]
if not pending then return {0} end
if pending[4] >= tonumber(ARGV[4]) then
  redis.call('XACK', stream, group, place)
  redis.call('HINCRBY', KEYS[2], 'lost', 1)
  return {1}
end
redis.call('XCLAIM', stream, group, ARGV[3], 0, place, 'RETRYCOUNT', pending[4] + 1, 'JUSTID')
return {0}
