-- Precedes every script: the offsets in a PAT record, counted from 1 (store/record.py has the layout).
local SCHEMA, STATE, SLOTS, EXPIRY, USED, GENERATION, OVERLAP, QUOTA = 50, 2, 3, 4, 10, 16, 19, 25
local VERSION, MARKS, SLOT, SLOT_SIZE, TAG = 47, 55, 56, 77, 3
