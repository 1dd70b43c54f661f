-- Charge a quota once, by the algorithm of model/quota.py.
--   KEYS[1]  tat, µs     ARGV[2]  emission interval, µs     ARGV[3]  burst tolerance, µs (a whole quota)
-- Returns {1 admitted, backlog µs | 0 over the quota, wait µs}
local emission, tolerance = ARGV[2] + 0, ARGV[3] + 0
local tat = tonumber(redis.call('GET', KEYS[1])) or 0
local base = math.min(math.max(tat, now_us), now_us + tolerance)
local backlog = base + emission - now_us
if backlog > tolerance then
  -- Store a clamped tat. Otherwise each refusal would clamp it to a later clock, and no request would ever pass.
  if tat > base then redis.call('SET', KEYS[1], base, 'PX', math.ceil((base - now_us) / 1000)) end
  return {0, backlog - tolerance}
end
redis.call('SET', KEYS[1], base + emission, 'PX', math.ceil(backlog / 1000))
return {1, backlog}
