"""The Lua scripts of the shared throttle. Moments are microseconds on the clock of Redis."""

from __future__ import annotations

from typing import Final

# The figures below are for a limit of 100/s with a burst of 10, at 50 ms. From 40/s it takes 1.0 s
# to reach it. A memory of 60 s leaves two refusals in the first minute, and uses 93% of the limit.
# Catching up makes up for event loops that are late.
_STATE: Final = """
local START, CATCH_UP, IDLE, WINDOW, EXPIRY = 40, 30000, 100000, 10000000, 86400000
local names = {'next', 'resumes', 'number', 'epoch', 'busy_at', 'busy_number', 'bound', 'base',
               'memory', 'window', 'clients', 'clients_before'}
local values, state = redis.call('HMGET', KEYS[1], unpack(names)), {}
for index, name in ipairs(names) do state[name] = tonumber(values[index]) or 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Requests a second: the caller's limit, or less after a refusal. An unknown limit is looked for by
-- a rate that grows e-fold each second until the first refusal. After one it grows as in CUBIC (RFC
-- 9438): doubled after `memory` seconds. Only requests that had to wait let it grow.
local function find_rate(known)
  local rate = START + state.bound
  if state.base > 0 then
    rate = state.base * (1 + (state.bound / (state.base * state.memory)) ^ 3)
  elseif known > 0 then
    rate = known
  end
  return known > 0 and math.min(known, rate) or rate
end

local function save()
  local fields = {}
  for _, name in ipairs(names) do
    fields[#fields + 1] = name
    fields[#fields + 1] = string.format('%.3f', state[name])
  end
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('PEXPIRE', KEYS[1], EXPIRY)
end
"""

RESERVE_SLOTS: Final = (
    _STATE
    + """
local count, known, horizon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window, base = tonumber(ARGV[4]), tonumber(ARGV[5])
if state.number == 0 and window >= 0 then  -- Redis has lost it; some still hold slots
  state.next, state.base, state.memory = now + 100000, base, 60
end
if now > state.window + WINDOW then  -- named by its beginning: a lost one differs
  state.clients_before = now < state.window + 2 * WINDOW and state.clients or 0
  state.window, state.clients = now, 0
end
if window ~= state.window then state.clients = state.clients + 1 end
local reply = {
  math.max(0, state.resumes - now), 0, math.max(state.clients, state.clients_before),
  state.window, string.format('%.3f', state.base), state.number + 1,
}
for index = 1, count do
  local at = math.max(state.next, now - CATCH_UP)
  if index > 1 and at > now + horizon then break end
  if state.number == 0 or state.next < now - IDLE then
    state.busy_at, state.busy_number = now, state.number
  end
  if state.next > now then state.bound = state.bound + 1 end
  state.number = state.number + 1
  state.next = at + 1000000 / find_rate(known)
  reply[#reply + 1] = math.max(0, at - now)
end
reply[2] = 1000000 / find_rate(known)
save()
return reply
"""
)
"""Reserves slots by GCRA: the next one is due an interval after the one before.

Returns the rest of the pause, the interval, the clients, the window in which they are counted, the
learned rate, the first slot's number, and the waits.
"""

PAUSE_ALL: Final = (
    _STATE
    + """
local pause, known = tonumber(ARGV[1]), tonumber(ARGV[2])
local number, age = tonumber(ARGV[3]), tonumber(ARGV[4])
local resumes = math.max(state.resumes, now + pause)
-- Slots that were given before a pause and are refused after it say nothing new.
if number > state.epoch and number <= state.number then
  local admitted = number - state.busy_number - 1
  local seconds = math.max(1, now - age - state.busy_at) / 1000000
  if admitted > 0 then
    state.bound = math.max(0, state.bound - (state.number - number))  -- when it was refused
    -- A service that counts in windows has admitted `lower` a second. Others may admit more.
    local rate, lower = find_rate(known), admitted / (seconds + pause / 1000000)
    local learned = 0.97 * math.sqrt(lower * rate)
    if state.base == 0 and known == 0 and pause / 1000000 < seconds then
      learned = 0.64 * rate  -- about what was admitted in the last second
    end
    -- Five refused at random must not slow everybody down for minutes.
    if admitted < 5 and (state.base == 0 or state.base > 1) then learned = math.max(1, learned) end
    if math.abs(learned / state.base - 1) < 0.1 then
      state.memory = admitted < 20 and math.min(200, 2 * state.memory) or 200
    else
      state.memory = math.max(10 / learned, math.min(60, admitted / 3))
    end
    state.base = math.max(0.02, learned)  -- a reservation can't be taken back
  end
  state.epoch, state.bound = state.number, 0
  state.busy_at, state.busy_number = resumes, state.number
elseif resumes > state.resumes then
  state.busy_at = math.max(state.busy_at, resumes)
end
state.resumes, state.next = resumes, math.max(state.next, resumes)
save()
redis.call('PUBLISH', KEYS[1], string.format('%.0f', resumes - now))
return 0
"""
)
"""Pauses all clients, and learns from the refusal of a slot."""
