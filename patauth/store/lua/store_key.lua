-- Make the store key, or put a lost part of it back; never change it. Only a store that lacks a part is sent this.
--   KEYS[1]  store key     KEYS[2]  its check value
--   ARGV[2]  the key to make or put back, or the mark that it is not in the store (setting secret_key)
--   ARGV[3]  its check value
-- Returns {1 something was written | 0, store key, check value} as they are now; the caller compares them
local key, check, wrote = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), 0
if not key and (not check or check == ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[2])
  key, wrote = ARGV[2], 1
end
if not check and key == ARGV[2] then
  redis.call('SET', KEYS[2], ARGV[3])
  check, wrote = ARGV[3], 1
end
return {wrote, key or '', check or ''}
