-- Note that events were delivered.
--   KEYS[1]  stream     ARGV[2]  group     ARGV[3…]  entries
-- Returns {how many were taken and not noted before}
return {redis.call('XACK', KEYS[1], ARGV[2], unpack(ARGV, 3))}
