/** Log lines: one event is one line, whatever a caller sends; readable on a terminal only. */
import { expect, test } from 'vitest'
import { makeLogger } from '../logging.ts'

function written(isTerminal: boolean) {
  const lines: string[] = []
  const log = makeLogger(
    { development: true, logLevel: 'info' },
    { write: (line) => void lines.push(line) },
    isTerminal,
  )
  return { log, text: () => lines.join('') }
}

test('readable lines are for terminals: what others collect is JSON', () => {
  const { log, text } = written(false)
  log.info({ path: '/task/1' }, 'request')
  expect(JSON.parse(text())).toMatchObject({ severity: 'INFO', message: 'request', path: '/task/1' })
})

test('nothing that is logged begins a readable line of its own or moves the cursor', () => {
  const { log, text } = written(true)
  const forged = '\n12:00:00.000 INFO forged\u001b[2J\u009b1A\u2028\u202e\r'
  log.info({ id: forged }, `said ${forged}`)
  log.error({ error: new Error(forged) }, 'request failed')
  expect(text()).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO said \\u\{a\}12:00:00\.000 INFO forged\\u\{1b\}\[2J/)
  expect(text().replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
  const starts = text()
    .split('\n')
    .filter((line) => /^\S/.test(line))
  expect(starts).toHaveLength(2)
  expect(text()).toContain('at ')
})
