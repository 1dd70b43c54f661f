-- Take the seal off a copy: from here on it is in use, and no copy is written over it.
--   KEYS[1]  store key
-- Returns {1 done | 0 there is no seal: another process has taken it off, or a copy has closed the store again}
local key = redis.call('GET', KEYS[1])
if not key or #key == 32 or sub(key, 1, 6) ~= 'sealed' then return {0} end
redis.call('SET', KEYS[1], sub(key, 7))
return {1}
