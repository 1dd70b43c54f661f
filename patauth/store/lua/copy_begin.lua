-- Close a store that a copy is to fill: nobody can use it from here on. It must be empty, or a copy that nobody has used.
--   KEYS[1]  store key     KEYS[2]  its check value
--   ARGV[2]  what to put in the place of the key     ARGV[3]  the check value of the store that is copied
-- Returns {1 it was empty or sealed | 2 it was closed: another copy may still write | 0 it is in use |
--   3 it is a copy of another store}
local key, check = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local mark = key and #key ~= 32 and sub(key, 1, 6)
if (key or check) and mark ~= 'closed' and mark ~= 'sealed' then return {0} end
if check and check ~= ARGV[3] then return {3} end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
if mark == 'closed' then return {2} end
return {1}
