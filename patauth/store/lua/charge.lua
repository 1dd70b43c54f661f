-- Charge a quota once.
--   KEYS[1]  tat, µs     ARGV[2]  emission interval, µs     ARGV[3]  burst tolerance, µs (a whole quota)
-- Returns {1 admitted, backlog µs | 0 over the quota, wait µs}
return charge(KEYS[1], ARGV[2] + 0, ARGV[3] + 0, now_us)
