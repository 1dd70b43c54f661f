-- Return what records hold, after a write for WAIT and WAITAOF to wait for. What they hold is durable then.
--   KEYS[1]  a key without content     KEYS[2]  ends that others wait for (may be left out)     KEYS[3…]  records
-- Returns {now ms, ms to wait, record or nil, …}
barrier(KEYS[1])
local answer = {now, 0}
if KEYS[2] then answer[2] = math.max(0, redis.call('PTTL', KEYS[2])) end
for i = 3, #KEYS do answer[i] = redis.call('GET', KEYS[i]) end
return answer
