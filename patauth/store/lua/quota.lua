-- Precedes the scripts that charge a quota and name it (store/scripts.py).

-- Charges a quota once, by the algorithm of model/quota.py.
--   key  tat, µs     emission  emission interval, µs     tolerance  burst tolerance, µs (a whole quota)
-- Returns {1 admitted, backlog µs | 0 over the quota, wait µs}.
local function charge(key, emission, tolerance, now_us)
  local tat = tonumber(redis.call('GET', key)) or 0
  local base = math.min(math.max(tat, now_us), now_us + tolerance)
  local backlog = base + emission - now_us
  if backlog > tolerance then
    -- Store a clamped tat. Otherwise each refusal would clamp it to a later clock, and no request would ever pass.
    if tat > base then redis.call('SET', key, base, 'PXAT', math.ceil(base / 1000)) end
    return {0, backlog - tolerance}
  end
  base = base + emission
  redis.call('SET', key, base, 'PXAT', math.ceil(base / 1000)) -- Valkey rewrites a SET that has a duration
  return {1, backlog}
end
