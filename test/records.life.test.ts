/** The arithmetic of beats: how many equal looks make a process dead, and what a failed look changes. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { makeBeats } from '../records/postgres-life.ts'

const beatMs = 5

/** Looks that are far enough apart until the process counts as gone; how many there were. */
async function looksUntilGone(life: ReturnType<typeof makeBeats>, beat: number): Promise<number> {
  for (let looks = 1; ; looks++) {
    if (await life.isGone('p', beat)) return looks
    await delay(beatMs * 2)
  }
}

const observer = () => makeBeats('unused', { beatMs, sameLooks: 6, sameLooksAfterFailure: 30 })

test('six looks without a change after the first are death', async () => {
  expect(await looksUntilGone(observer(), 7)).toBe(7)
})

test('a beat in between starts the count anew', async () => {
  const life = observer()
  for (let look = 0; look < 6; look++) {
    expect(await life.isGone('p', 1)).toBe(false)
    await delay(beatMs * 2)
  }
  expect(await looksUntilGone(life, 2)).toBe(7)
})

test('after a look that failed it takes thirty, until a beat is seen', async () => {
  for (const failsFirst of [true, false]) {
    const life = observer()
    if (!failsFirst) await life.isGone('p', 1)
    life.lookFailed('p')
    await delay(beatMs * 2)
    expect(await looksUntilGone(life, 1)).toBe(failsFirst ? 31 : 30)
    expect(await looksUntilGone(life, 2)).toBe(7)
  }
})

test('looks that are too close together count once', async () => {
  const life = makeBeats('unused', { beatMs: 60_000, sameLooks: 1, sameLooksAfterFailure: 1 })
  for (let look = 0; look < 100; look++) expect(await life.isGone('p', 1)).toBe(false)
})
