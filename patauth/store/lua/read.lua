-- PAT records of one owner tag, with the clock to judge them by.
--   KEYS  PAT records
-- Returns {now ms, record or nil, …}
local answer = {now}
for i = 1, #KEYS do answer[i + 1] = redis.call('GET', KEYS[i]) end
return answer
