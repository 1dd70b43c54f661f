-- Delete an access token. DEL works even when the memory is full.
--   KEYS[1]  access token record     KEYS[2]  record of its PAT     KEYS[3]  index of the tokens of its secret
--   KEYS[4]  ends that others wait for     KEYS[5]  a key without content
--   KEYS[6]  PAT record of the caller     KEYS[7]  access token record of the caller
--   ARGV[2]  the caller (`refused` in prelude.lua)
-- Returns {1 deleted | 0 it was not there, ms to wait}; {6}, {7} the caller may not (`refused`)
local no = refused(KEYS[6], KEYS[7], ARGV[2])
if no then return {no} end
local pat = redis.call('GET', KEYS[2])
local removed = redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], sub(KEYS[1], -32))
if removed == 0 then barrier(KEYS[5]) end -- another caller has deleted it, and that may not be durable yet
local ends = removed == 1 and pat and byte(pat, 1) == SCHEMA and byte(pat, MARKS) % 2 == 1
return {removed, wait_for_others(KEYS[4], ends)}
