/** Validations and blessings under both stores: first end wins, attempts grow, lists are pages. */
import { expect, test } from 'vitest'
import type { Store } from '../records/store.ts'
import { blessingFor, liveModel, storeBlessing } from './support/blessings.ts'
import { describeStores, storeAt } from './support/stores.ts'

async function running(store: Store, id: string, modelName = 'iris'): Promise<void> {
  expect(await store.validations.create({ id, modelName, spec: '{"a":1}' })).toBe(true)
}

describeStores('validations', (kind) => {
  test('an id is taken once, and the record tells what was asked', async () => {
    const { validations } = await storeAt(await kind.place())
    expect(await validations.create({ id: 'v1', modelName: 'iris', spec: '{"n":1}', template: 'v0' })).toBe(
      true,
    )
    expect(await validations.create({ id: 'v1', modelName: 'other', spec: '{}' })).toBe(false)
    expect(await validations.get('v1')).toMatchObject({
      modelName: 'iris',
      spec: '{"n":1}',
      template: 'v0',
      status: 'running',
      verdict: null,
      progress: { phase: 'pending' },
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
      endedAt: null,
    })
    expect(await validations.get('nobody')).toBeUndefined()
  })

  test('the first end wins, with its blessing; progress stands still afterwards', async () => {
    const store = await storeAt(await kind.place())
    const { validations } = store
    await running(store, 'v1')
    await validations.show('v1', { phase: 'loading', attempt: 1 })
    expect((await validations.get('v1'))?.progress).toEqual({ phase: 'loading', attempt: 1 })
    const blessing = blessingFor()
    const ended = await validations.end('v1', { verdict: 'BLESSED', blessing })
    expect(ended).toMatchObject({ status: 'ended', verdict: 'BLESSED', blessingId: blessing.id })
    const late = blessingFor({ verdict: 'ERROR' })
    const error = { class: 'INTERNAL', message: 'late' } as const
    expect(await validations.end('v1', { verdict: 'ERROR', error, blessing: late })).toEqual(ended)
    expect(await validations.blessing(late.id)).toBeUndefined()
    await validations.show('v1', { phase: 'load' })
    expect((await validations.get('v1'))?.progress).toEqual({ phase: 'ended' })
    expect(await validations.end('nobody', { verdict: 'ERROR' })).toBeUndefined()
  })

  test('what attempts add is merged; a transition that is told twice is there once', async () => {
    const store = await storeAt(await kind.place())
    const { validations } = store
    await running(store, 'v1')
    const at = new Date().toISOString()
    const started = [
      { to: 'Initial' as const, at, reason: 'built' },
      { from: 'Initial' as const, to: 'Scheduled' as const, at, reason: 'started' },
    ]
    await validations.patchAttempt('v1', 1, 1, { jobKey: 'other' })
    await validations.patchAttempt('v1', 0, 2, { jobKey: 'second' })
    await Promise.all([
      validations.patchAttempt('v1', 0, 1, { jobKey: 'k', transitions: started, timings: { startMs: 1 } }),
      validations.patchAttempt('v1', 0, 1, {
        transitions: started,
        timings: { loadMs: 2 },
        results: { golden: [] },
      }),
      validations.patchAttempt('v1', 0, 1, {
        transitions: [{ from: 'Running', to: 'End', at, reason: 'stopped' }],
        results: { gates: [] },
        logsTail: 'nul \0 inside',
      }),
    ])
    const attempts = await validations.attempts('v1')
    expect(attempts.map(({ binary, n }) => [binary, n])).toEqual([
      [0, 1],
      [0, 2],
      [1, 1],
    ])
    expect(attempts[0]).toMatchObject({
      jobKey: 'k',
      timings: { startMs: 1, loadMs: 2 },
      results: { golden: [], gates: [] },
    })
    expect(attempts[0]?.transitions?.map(({ from, to }) => [from, to])).toEqual([
      [undefined, 'Initial'],
      ['Initial', 'Scheduled'],
      ['Scheduled', 'End'],
    ])
  })

  test('texts are kept by name and replaced; plans are kept', async () => {
    const store = await storeAt(await kind.place())
    const { validations } = store
    await running(store, 'v1')
    await validations.keepText('v1', 'logs/0/1', 'first')
    await validations.keepText('v1', 'logs/0/1', 'x'.repeat(1024 * 1024))
    expect(await validations.text('v1', 'logs/0/1')).toHaveLength(1024 * 1024)
    expect(await validations.text('v1', 'logs/0/2')).toBeUndefined()
    await validations.keepPlan('v1', '{"p":1}')
    expect((await validations.get('v1'))?.plan).toBe('{"p":1}')
  })

  test('lists are newest first, in pages, by model', async () => {
    const store = await storeAt(await kind.place())
    for (const n of [1, 2, 3, 4]) await running(store, `v${n}`, n % 2 === 0 ? 'even' : 'odd')
    const ids = (some: { id: string }[]) => some.map(({ id }) => id)
    const first = await store.validations.list({ limit: 2 })
    expect(ids(first)).toEqual(['v4', 'v3'])
    expect(ids(await store.validations.list({ limit: 2, before: first[1]!.seq }))).toEqual(['v2', 'v1'])
    expect(ids(await store.validations.list({ limit: 9, modelName: 'odd' }))).toEqual(['v3', 'v1'])
  })

  test('blessings are found by digest or name, newest first, and revoked once', async () => {
    const store = await storeAt(await kind.place())
    const { validations } = store
    const first = blessingFor()
    const renamed = blessingFor({ model: { ...first.model, name: 'renamed' } })
    const other = blessingFor({ verdict: 'NOT_BLESSED', model: { ...first.model, digest: 'sha256:other' } })
    for (const blessing of [first, renamed, other]) await storeBlessing(store, blessing)
    const found = async (names: string[], digest: string) =>
      (await validations.blessingsOf({ digest, names, limit: 9 })).map(({ blessing }) => blessing.id)
    expect(await found([], liveModel)).toEqual([renamed.id, first.id])
    expect(await found(['iris'], '')).toEqual([other.id, first.id])
    expect(await found(['iris', 'renamed'], liveModel)).toEqual([other.id, renamed.id, first.id])
    expect(
      (await validations.blessings({ limit: 9, verdict: 'NOT_BLESSED' })).map(({ blessing }) => blessing),
    ).toEqual([other])
    const revoked = await validations.revoke(first.id, 'recalled')
    expect(revoked).toMatchObject({ revokedReason: 'recalled', revokedAt: expect.any(String) })
    expect(await validations.revoke(first.id, 'again')).toEqual(revoked)
    expect(await validations.revoke('nobody', '')).toBeUndefined()
  })
})
