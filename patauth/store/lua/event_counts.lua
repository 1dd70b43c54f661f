-- Return how many events the two streams have, and the counts.
--   KEYS[1], KEYS[2]  streams     KEYS[3]  counts
-- Returns {length, length, name, number, …}
return {redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[2]), unpack(redis.call('HGETALL', KEYS[3]))}
