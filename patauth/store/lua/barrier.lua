-- A write for WAIT and WAITAOF to wait for. It deletes first: that works out of memory too.
--   KEYS[1]  a key that says nothing
-- Returns {1}
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1000)
return {1}
