/** Commits whose answer never comes, on a real PostgreSQL server: what their callers are told, and what becomes of them. */
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { beginDirect } from '../api/begin-direct.ts'
import { makeHeldCalls } from '../records/held-calls.ts'
import { startAnswerSwallower } from './support/answer-swallower.ts'
import { makeDepartures } from './support/departures.ts'
import { startCluster } from './support/postgres.ts'
import { admissionOf, flightIds, postgresStores, servingStore, storeAt } from './support/stores.ts'

const soon = { timeout: 30_000, interval: 25 }
const refused = { code: 'store_unavailable' }

async function stage() {
  const place = await postgresStores.place()
  if (place.kind !== 'postgres') throw new Error('PostgreSQL only')
  const between = await startAnswerSwallower(place.connectionString)
  const through = { ...place, connectionString: between.connectionString }
  const store = await servingStore(through, 'api-1', { writeDeadlineMs: 1_000 })
  // What is really there, read beside it.
  const beside = await storeAt(place)
  return { store, beside, between, ...makeDepartures(store) }
}

postgresStores.describe('commits in doubt', () => {
  // PR-03
  test('an acceptance that was committed unheard ends failed before any call, unless it has a key', async () => {
    const { flights, beside, between, asked, request } = await stage()
    await flights.submit(request())
    between.swallow()
    const keyed = { idempotency: { key: 'k', fingerprint: 'f' } }
    const answers = await Promise.allSettled([flights.submit(request()), flights.submit(request(keyed))])
    expect(answers).toMatchObject([
      { status: 'rejected', reason: refused },
      { status: 'rejected', reason: refused },
    ])
    expect(between.swallowed()).toBeGreaterThan(0)
    between.heal()
    await vi.waitFor(async () => {
      const { items } = await beside.list({ limit: 10 })
      expect(items.map(({ status }) => status).toSorted()).toEqual(['failed', 'pending', 'pending'])
    }, soon)
    const { items } = await beside.list({ limit: 10, status: 'failed' })
    expect(items[0]).toMatchObject({ errorCode: 'task_queue_failed', attempts: 0 })
    // The same request again finds the one with the key, and it flies.
    const found = await flights.submit(request(keyed))
    expect(found.earlier).toBe(true)
    await vi.waitFor(() => expect(asked.some(({ ids }) => ids.includes(found.id))).toBe(true), soon)
  })

  // PR-03
  test('what a failure has not written is forgotten: no COMMIT was sent', async () => {
    const { store, flights, between, request } = await stage()
    const settle = vi.spyOn(store, 'settleDoubt')
    between.swallow()
    between.heal()
    const block = await postgresStores.block({ kind: 'postgres', connectionString: between.connectionString })
    await expect(flights.submit(request())).rejects.toMatchObject(refused)
    await block()
    await flights.submit(request())
    expect(settle).not.toHaveBeenCalled()
  })

  // PR-04
  test('a direct call that has begun unheard ends failed in the hands of its process, and frees its key', async () => {
    const { store, beside, between, doubts } = await stage()
    const idempotency = { key: 'k', fingerprint: 'f' }
    const target = { name: 'm', version: '', platform: 'v2' } as never
    // What the process holds without a call is given up soon; this one it knows.
    const held = makeHeldCalls(store, 'api-1', { idleMs: 20 })
    onTestFinished(() => held.close())
    const deps = { store, held, doubts, processId: 'api-1', queue: 'critical', onDead: () => undefined }
    between.swallow()
    const request = { target, inputs: '{}', uid: '', idempotency }
    await expect(beginDirect(deps, request)).rejects.toMatchObject(refused)
    between.heal()
    await vi.waitFor(async () => {
      const { items } = await beside.list({ limit: 10 })
      expect(items).toMatchObject([{ status: 'failed', errorCode: 'store_unavailable' }])
    }, soon)
    expect(await beginDirect(deps, request)).toMatchObject({ token: 1 })
  })

  // PR-03: a look without the admission lock finds nothing while the commit waits for its standby
  test('a commit that waits for its standby is settled only once it is decided', async () => {
    const cluster = await startCluster()
    try {
      const connectionString = await cluster.newDatabase()
      const store = await servingStore({ kind: 'postgres', connectionString }, 'api-1', {
        writeDeadlineMs: 1_000,
      })
      const { flights, request, asked } = makeDepartures(store)
      const admin = new pg.Client({ connectionString })
      await admin.connect()
      const standby = async (name: string) => {
        await admin.query(`alter system set synchronous_standby_names = '${name}'`)
        await admin.query('select pg_reload_conf()')
        const setting = async () => (await admin.query('show synchronous_standby_names')).rows[0]
        await vi.waitFor(
          async () => expect(await setting()).toEqual({ synchronous_standby_names: name }),
          soon,
        )
      }
      // `alter system` itself must not wait for a standby that never comes.
      await admin.query('set synchronous_commit = local')
      await standby('absent')
      await expect(flights.submit(request())).rejects.toMatchObject(refused)
      const waiting = async () =>
        (await admin.query(`select 1 from pg_stat_activity where wait_event = 'SyncRep'`)).rowCount
      await vi.waitFor(async () => expect(await waiting()).toBeGreaterThan(0), soon)
      const rows = async () => (await admin.query('select status from predictions')).rows
      expect(await rows()).toEqual([])
      await standby('')
      await vi.waitFor(async () => expect(await rows()).toEqual([{ status: 'failed' }]), soon)
      expect(asked).toEqual([])
      await admin.end()
    } finally {
      await cluster.stop()
    }
  })

  // PR-03
  test('ids of an unheard group are answered when asked again', async () => {
    const { store } = await stage()
    const admission = admissionOf(flightIds(2))
    const first = await store.admit(admission)
    await store.closeProcess('api-1')
    expect(await store.admit(admission)).toEqual(first)
  })
})
