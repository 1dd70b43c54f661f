-- Precedes every script: the offsets in a PAT record and an owner index entry, counted from 1 (store/record.py has
-- the layout).
local SCHEMA, STATE, SLOTS, EXPIRY, GENERATION, OVERLAP, QUOTA = 50, 2, 3, 4, 16, 19, 25
local VERSION, MARKS, CREATED, NAME, SLOT, SLOT_SIZE, TAG = 47, 55, 56, 62, 70, 77, 3
local ID, LAST_USE, ENTRY_NAME, NEVER = 31, 10, 19, 281474976710655
local NO_QUOTA = '\0\0\0' -- a count of 0
-- The state of a PAT that may act, and what is added to it if the operations have more to judge.
local ACTIVE, CONDITIONAL = 97, 8
