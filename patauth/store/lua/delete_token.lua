-- Delete an access token. DEL works even when the memory is full.
--   KEYS[1]  access token record     KEYS[2]  record of its PAT     KEYS[3]  ends that others wait for
--   KEYS[4]  PAT record of the caller     KEYS[5]  access token record of the caller
--   ARGV[2]  the caller (`refused` in prelude.lua)
-- Returns {1 deleted | 0 it was not there, ms to wait}; {6}, {7} the caller may not (`refused`)
local no = refused(KEYS[4], KEYS[5], ARGV[2])
if no then return {no} end
local pat = redis.call('GET', KEYS[2])
local removed = redis.call('DEL', KEYS[1])
local ends = removed == 1 and pat and byte(pat, 1) == SCHEMA and byte(pat, MARKS) % 2 == 1
return {removed, wait_for_others(KEYS[3], ends)}
