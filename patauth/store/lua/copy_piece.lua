-- Write a piece of a copy: run a command on a key.
--   KEYS[1]  any key
--   ARGV[2]  the latest instant to do this, ms     ARGV[3]  the command     ARGV[4…]  its words after the key
-- Returns {1 done | 5 too late: a later copy may have begun}
if now > ARGV[2] + 0 then return {5} end
redis.call(ARGV[3], KEYS[1], unpack(ARGV, 4))
return {1}
