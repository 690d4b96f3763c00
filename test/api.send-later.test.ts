/** What is owed to others is sent until nothing is left, whatever goes wrong, or until the process is told to stop. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeSendLater } from '../api/send-later.ts'
import type { OutboxLeft } from '../records/store.ts'

type Drained = OutboxLeft | undefined | Error

/** Drains answer these in order, the last one again and again. */
function sender(...answers: Drained[]) {
  const drained: string[] = []
  const outbox = {
    mirrors: true,
    async drain(id: string): Promise<OutboxLeft | undefined> {
      const answer = answers[Math.min(drained.length, answers.length - 1)]
      drained.push(id)
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  const later = makeSendLater(outbox)
  onTestFinished(() => later.stop())
  return { later, drained }
}

const soon: OutboxLeft = { waitMs: 1, unknown: false, refused: false }

// PR-21
test('an unforeseen error ends no sending', async () => {
  const { later, drained } = sender(new Error('cached plan must not change result type'), soon, undefined)
  later.send('p')
  await vi.waitFor(() => expect(drained).toEqual(['p', 'p', 'p']), 30_000)
})

test('a process that is told to stop leaves the rest to its guard', async () => {
  const { later, drained } = sender(soon)
  later.send('p')
  await vi.waitFor(() => expect(drained.length).toBeGreaterThan(2), 30_000)
  later.stop()
  const before = drained.length
  later.send('q')
  await new Promise((resolve) => setImmediate(resolve))
  expect(drained.slice(before)).toEqual([])
})
