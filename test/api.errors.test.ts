/** Errors: every code has a status, a page entry that agrees, and one form per surface. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorResponse, httpStatus } from '../api/errors.ts'
import { errorCodes, ServiceError } from '../contracts/errors.ts'
import { makeLogger } from '../logging.ts'

const log = makeLogger({ development: false, logLevel: 'silent' })

test('every code is explained on its page, with its status and what to do', () => {
  const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
  const rows = new Map(
    [...page.matchAll(/^\| `(\w+)` +\| (\d{3}) +\| (.+?) *\| (.+?) *\|$/gm)].map(
      ([, code, status, happened, advice]) => [code, { status: Number(status), happened, advice }],
    ),
  )
  for (const code of errorCodes) {
    const row = rows.get(code)
    expect(row?.status, code).toBe(httpStatus[code])
    expect(row?.happened, code).toBeTruthy()
    expect(row?.advice, code).toBeTruthy()
  }
  expect(rows.size).toBe(errorCodes.length)
})

test('inherited errors keep the number that prefixes a platform failure', async () => {
  const error = new ServiceError('platform_rejected', 'no such model', { legacyCode: 20007 })
  const response = errorResponse(error, 'inherited', log)
  expect(response.status).toBe(400)
  expect(await response.json()).toEqual({ error: 'status 20007: no such model', code: 'platform_rejected' })
})

test('modern errors are problem+json', async () => {
  const response = errorResponse(
    new ServiceError('queue_full', 'full', { retryAfterMs: 2_100 }),
    'modern',
    log,
  )
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(response.headers.get('retry-after')).toBe('3')
  expect(await response.json()).toEqual({
    type: 'about:blank',
    title: 'Too Many Requests',
    status: 429,
    detail: 'full',
    code: 'queue_full',
  })
})

test('an error of another library shows its code at most, never its text', async () => {
  const foreign = new Error('connect ECONNREFUSED 10.1.2.3', { cause: { type: 'store_unavailable' } })
  const response = errorResponse(foreign, 'inherited', log)
  expect(response.status).toBe(503)
  expect(await response.text()).not.toContain('10.1.2.3')
})
