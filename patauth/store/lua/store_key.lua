-- The store key: made once, kept for good, put back by who still holds it.
--   KEYS[1]  store key     KEYS[2]  its check value
--   ARGV[2]  the key to make or put back; empty if it is kept outside (setting secret_key)
--   ARGV[3]  its check value
-- Returns {store key or '', check value}, as they now stand; the caller compares
local key, check = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if not key and ARGV[2] ~= '' and (not check or check == ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[2])
  key = ARGV[2]
end
if not check and (not key or key == ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[3])
  check = ARGV[3]
end
return {key or '', check or ''}
