/** `Prefer: wait[=n]` as Replicate's clients and RFC 7240 write it. */
import { expect, test } from 'vitest'
import { waitMsOf } from '../api/prefer.ts'

test.each([
  ['wait', 60_000],
  ['wait=1', 1_000],
  ['wait=60', 60_000],
  ['wait="5"', 5_000],
  ['Wait = 5', 5_000],
  ['respond-async, wait=10', 10_000],
  ['wait=10; note=x', 10_000],
])('%s waits %d ms', (given, ms) => {
  expect(waitMsOf(given)).toBe(ms)
})

test('more than a minute is cut to a minute, as the RFC leaves it to the server', () => {
  expect(waitMsOf('wait=61')).toBe(60_000)
  expect(waitMsOf('wait=3600')).toBe(60_000)
})

test.each([undefined, '', 'respond-async', 'wait=0', 'wait=-1', 'wait=soon', 'waiting', 'return=minimal'])(
  '%s asks for no wait',
  (given) => {
    expect(waitMsOf(given)).toBeUndefined()
  },
)
