/** How writes become transactions: bounded by count and by bytes, in the order in which they were asked. */
import { expect, test } from 'vitest'
import { sideBySide } from '../records/group.ts'
import { makeWriteQueue } from '../records/write-queue.ts'

const mib = 1024 * 1024
const write = sideBySide<{ id: string; inputs: string[] }, void>(
  (request) => [request.id],
  // biome-ignore lint/correctness/useYield: nothing is asked, only what is asked together counts
  function* () {
    return undefined
  },
)

/** The sizes of the groups that these payloads, asked in one turn, are committed in. */
async function groupsOf(payloads: readonly string[]): Promise<number[]> {
  const sizes: number[] = []
  const queue = makeWriteQueue({
    deadlineMs: 60_000,
    largestGroup: 500,
    parallel: 1,
    isPassing: () => false,
    commit(group) {
      sizes.push(group.length)
      return group.map((entry) => () => entry.resolve(undefined))
    },
  })
  await Promise.all(payloads.map((inputs, n) => queue.write(write, { id: String(n), inputs: [inputs] })))
  await queue.close()
  return sizes
}

// PR-15
test('a transaction ends at 16 MiB of payload', async () => {
  expect(await groupsOf(Array<string>(200).fill('x'.repeat(10 * mib)))).toEqual(Array(200).fill(1))
  expect(await groupsOf(Array<string>(5).fill('x'.repeat(6 * mib)))).toEqual([2, 2, 1])
  expect(await groupsOf(Array<string>(4).fill('ü'.repeat(5 * mib)))).toEqual([1, 1, 1, 1])
})

// PR-15
test('a larger write is a transaction of its own, between what was asked before and after it', async () => {
  expect(await groupsOf(['x', 'x', 'x'.repeat(20 * mib), 'x', 'x'])).toEqual([2, 1, 2])
})

test('small writes share a transaction, up to 500', async () => {
  expect(await groupsOf(Array<string>(700).fill('x'))).toEqual([500, 200])
})
