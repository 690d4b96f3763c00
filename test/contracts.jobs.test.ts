/** How provider jobs may be created again and polled: pure rules. */
import { describe, expect, test } from 'vitest'
import { type ErrorCode, ServiceError } from '../contracts/errors.ts'
import { createDelayMs, isAmbiguousCreate, isFinalPoll, pollPauseMs } from '../contracts/jobs.ts'

const error = (code: ErrorCode, retryAfterMs?: number) =>
  new ServiceError(code, '', retryAfterMs === undefined ? {} : { retryAfterMs })

describe('a creation', () => {
  test.each(['platform_connection_lost', 'platform_timeout', 'platform_error'] as const)(
    'that may have made a job (%s) is repeated at most once',
    (code) => {
      expect(isAmbiguousCreate(error(code))).toBe(true)
      expect(createDelayMs(error(code), 1, 1, 0.5)).toBeGreaterThan(0)
      expect(createDelayMs(error(code), 2, 2, 0.5)).toBeUndefined()
      expect(createDelayMs(error(code), 4, 1, 0.5)).toBeGreaterThan(0)
    },
  )

  test.each([
    'platform_unreachable',
    'platform_busy',
    'platform_bad_gateway',
    'platform_gateway_timeout',
  ] as const)('that failed as %s is repeated up to five attempts', (code) => {
    for (const failures of [1, 2, 3, 4]) {
      expect(createDelayMs(error(code), failures, 0, 0.5)).toBeGreaterThan(0)
    }
    expect(createDelayMs(error(code), 5, 0, 0.5)).toBeUndefined()
  })

  test.each([
    'platform_rejected',
    'platform_credentials',
    'platform_bad_answer',
    'prediction_timeout',
  ] as const)('that failed as %s is final', (code) =>
    expect(createDelayMs(error(code), 1, 0, 0.5)).toBeUndefined(),
  )

  test('waits as long as the provider asks', () => {
    expect(createDelayMs(error('platform_busy', 30_000), 1, 0, 0.5)).toBe(30_000)
  })
})

describe('polling', () => {
  test('begins with half a second to a second and grows to about five', () => {
    expect(pollPauseMs(1, 0)).toBe(500)
    expect(pollPauseMs(1, 1)).toBe(1_000)
    expect(pollPauseMs(4, 0.5)).toBeGreaterThan(pollPauseMs(2, 0.5))
    for (const random of [0, 0.5, 1]) {
      expect(pollPauseMs(50, random)).toBeGreaterThan(3_000)
      expect(pollPauseMs(50, random)).toBeLessThan(7_000)
    }
  })

  test('is never sooner than the provider asks', () => {
    expect(pollPauseMs(1, 0.5, 2_000)).toBe(2_000)
    expect(pollPauseMs(50, 0.5, 2_000)).toBe(5_000)
  })

  test.each([
    ['platform_unreachable', false],
    ['platform_connection_lost', false],
    ['platform_timeout', false],
    ['platform_busy', false],
    ['platform_error', false],
    ['platform_bad_gateway', false],
    ['platform_gateway_timeout', false],
    ['platform_bad_answer', false],
    ['platform_answer_too_large', true],
    ['platform_credentials', true],
    ['platform_rejected', true],
    ['provider_result_expired', true],
    ['prediction_timeout', true],
    ['prediction_canceled', true],
    ['internal', true],
  ] as const)('after %s is over: %s', (code, final) => {
    expect(isFinalPoll(error(code))).toBe(final)
  })
})
