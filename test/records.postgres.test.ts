/** What only a shared server can show: it dies and returns, its clients are frozen, and start fails in clear words. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { openPostgresStore } from '../records/postgres.ts'
import { describeWithCluster, sharedCluster, startCluster } from './support/postgres.ts'
import {
  admissionOf,
  admitted,
  flightIds,
  limits,
  newPrediction,
  postgresStores,
  servingStore,
  storeAt,
  storeProcess,
  taken,
} from './support/stores.ts'

async function client(connectionString: string): Promise<pg.Client> {
  const opened = new pg.Client({ connectionString })
  await opened.connect()
  onTestFinished(() => opened.end())
  return opened
}

describeWithCluster('the PostgreSQL store', () => {
  test('a process killed with -9 is found dead at the first look, once the others have missed its beats', async () => {
    const connectionString = await sharedCluster().newDatabase()
    const place = { kind: 'postgres', connectionString } as const
    const observer = await servingStore(place, 'worker-1')
    const killed = await storeProcess(place)
    await killed.store.registerProcess('worker-2', 'worker')
    await killed.store.openProcess('worker-2')
    const db = await client(connectionString)
    const beatOf = async (id: string) =>
      Number((await db.query('select beat from processes where id = $1', [id])).rows[0].beat)
    await vi.waitFor(async () => expect(await beatOf('worker-2')).toBeGreaterThan(0), { timeout: 30_000 })
    await killed.kill()
    expect(await observer.observeProcess('worker-2')).toBe('open')

    // With each of its own beats it looks at those of the others, without being asked: the first look and six more.
    const beats = await beatOf('worker-1')
    await vi.waitFor(async () => expect(await beatOf('worker-1')).toBeGreaterThan(beats + 9), {
      timeout: 50_000,
      interval: 100,
    })

    expect(await observer.observeProcess('worker-2')).toBe('dead')
  })

  test('a server killed with -9 under load loses no answered write and doubles none', async () => {
    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    const connectionString = await cluster.newDatabase()
    const store = await servingStore({ kind: 'postgres', connectionString }, 'api-1', {
      writeDeadlineMs: 60_000,
    })
    const answered = new Map<string, string>()
    let loading = true
    const load = Array.from({ length: 8 }, async (_, n) => {
      while (loading) {
        const ids = await admitted(store, 2, { maxQueueSize: 1_000_000 })
        for (const id of ids) answered.set(id, 'pending')
        const first = await store.take(ids[0]!, 'api-1', limits, true)
        if (first.outcome !== 'taken') {
          // A lost answer: the call is ours, so it is taken again.
          expect(first).toMatchObject({ outcome: 'held', holder: 'api-1' })
          continue
        }
        await store.transition(ids[0]!, 'succeeded', { outputs: `${n}` }, first.token)
        answered.set(ids[0]!, 'succeeded')
      }
    })
    for (let round = 0; round < 2; round++) {
      const before = answered.size
      await vi.waitFor(() => expect(answered.size).toBeGreaterThan(before + 20), 30_000)
      await cluster.kill()
      await cluster.start()
    }
    const before = answered.size
    await vi.waitFor(() => expect(answered.size).toBeGreaterThan(before + 20), 30_000)
    loading = false
    await Promise.all(load)
    for (const [id, status] of answered) {
      const record = await store.get(id)
      if (status === 'succeeded') expect(record?.status).toBe('succeeded')
      else expect(record).toBeDefined()
    }
    const db = await client(connectionString)
    const { rows } = await db.query(
      `select count(*)::int as n from predictions p where not exists (select 1 from prediction_inputs i where i.id = p.id)
       or (status = 'succeeded') <> exists (select 1 from prediction_outputs o where o.id = p.id)`,
    )
    expect(rows[0].n).toBe(0)
  })

  test('a server that is away answers store_unavailable at the deadline, and all goes on after its return', async () => {
    const cluster = await startCluster()
    onTestFinished(() => cluster.stop())
    const connectionString = await cluster.newDatabase()
    const store = await servingStore({ kind: 'postgres', connectionString }, 'api-1', {
      writeDeadlineMs: 1_000,
    })
    const [id] = await admitted(store)
    await cluster.kill()
    const calls = [store.ping(), store.cancel(id!), store.get(id!), store.count('critical')]
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'store_unavailable' } })
    }
    await cluster.start()
    await vi.waitFor(() => store.ping(), 30_000)
    expect(await store.get(id!)).toMatchObject({ status: 'pending' })
    // Its beats came back by themselves.
    for (let look = 0; look < 10; look++) {
      expect(await store.observeProcess('api-1')).toBe('open')
      await delay(100)
    }
  })

  test('a frozen process is declared dead, loses its call to another, and ends itself after the thaw', async () => {
    const place = await postgresStores.place()
    const store = await servingStore(place)
    const worker = await storeProcess(place)
    await worker.store.registerProcess('worker-1', 'worker')
    await worker.store.openProcess('worker-1')
    const [id] = await admitted(store)
    await taken(worker.store, id!, 'worker-1')
    worker.signal('SIGSTOP')
    await vi.waitFor(async () => expect(await store.observeProcess('worker-1')).toBe('dead'), {
      timeout: 30_000,
      interval: 100,
    })
    const token = await taken(store, id!)
    worker.signal('SIGCONT')
    expect(await worker.ended).toBe('SIGKILL')
    expect(await store.transition(id!, 'succeeded', {}, token)).toMatchObject({ changed: true })
  })

  test('looks in quick succession kill nobody: only looks half a second apart count', async () => {
    const place = await postgresStores.place()
    const store = await servingStore(place)
    const worker = await storeProcess(place)
    await worker.store.registerProcess('worker-1', 'worker')
    worker.signal('SIGSTOP')
    for (let look = 0; look < 50; look++) expect(await store.observeProcess('worker-1')).toBe('new')
    worker.signal('SIGCONT')
    expect(await store.observeProcess('worker-1')).toBe('new')
  })

  test('a client frozen in the middle of a transaction keeps its locks for two seconds at most', async () => {
    const place = await postgresStores.place()
    if (place.kind !== 'postgres') throw new Error('wrong place')
    const store = await servingStore(place, 'api-1', { writeDeadlineMs: 30_000 })
    const [id] = await admitted(store)
    // The same session settings as the store's own connections.
    const frozen = new pg.Client({
      connectionString: place.connectionString,
      idle_in_transaction_session_timeout: 2_000,
    })
    frozen.on('error', () => undefined)
    await frozen.connect()
    await frozen.query('BEGIN')
    await frozen.query('select * from predictions for update')
    expect(await store.cancel(id!)).toEqual({ outcome: 'canceled' })
    await frozen.end().catch(() => undefined)
  })

  // PR-17
  test('what is old follows the database, whatever the clock of the process that deletes says', async () => {
    const store = await servingStore(await postgresStores.place())
    const [id] = await admitted(store)
    await store.cancel(id!)
    await store.addFile('file', '')
    const now = Date.now()
    vi.spyOn(Date, 'now').mockImplementation(() => now + 50 * 3_600_000)
    onTestFinished(() => void vi.restoreAllMocks())
    expect(await store.expire(48 * 3_600_000)).toBe(0)
    expect(await store.get(id!)).toMatchObject({ status: 'canceled' })
    expect(await store.oldFiles(48 * 3_600_000, 10)).toEqual([])
    expect(await store.oldFiles(-60_000, 10)).toEqual(['file'])
  })

  // PR-16
  test('a client that is frozen while it reads what it has taken holds up nobody, and loses its session', async () => {
    const place = await postgresStores.place()
    if (place.kind !== 'postgres') throw new Error('not a PostgreSQL place')
    const store = await servingStore(place)
    const network = await throughFreezingNetwork(place.connectionString)
    const worker = await storeAt({ kind: 'postgres', connectionString: network.connectionString })
    await worker.registerProcess('worker-1', 'worker')
    const [id] = flightIds(1)
    const inputs = JSON.stringify('x'.repeat(30 * 1024 * 1024))
    await store.admit(admissionOf([id!], { items: [newPrediction(id!, { inputs })] }))
    const db = await client(place.connectionString)
    const stuck = async () =>
      (await db.query(`select 1 from pg_stat_activity where wait_event = 'ClientWrite'`)).rows.length

    network.freezeAfter(100_000)
    const taking = worker.take(id!, 'worker-1', limits)
    await vi.waitFor(async () => expect(await stuck()).toBe(1), { timeout: 30_000, interval: 50 })
    const started = performance.now()
    expect(await store.pause('critical')).toBe(true)
    expect(performance.now() - started).toBeLessThan(3_000)
    await expect(taking).rejects.toMatchObject({ code: 'store_unavailable' })
    await vi.waitFor(async () => expect(await stuck()).toBe(0), { timeout: 60_000, interval: 200 })
  })

  test('wrong credentials, an absent database and an unreachable server are one clear line each', async () => {
    const { port } = sharedCluster()
    const opening = (connectionString: string) =>
      openPostgresStore({ connectionString, writeDeadlineMs: 300 })
    await expect(opening(`postgres://nobody:secret@127.0.0.1:${port}/postgres`)).rejects.toThrow(
      /^The record store's database cannot be used: role "nobody" does not exist$/,
    )
    await expect(opening(`postgres://perdure@127.0.0.1:${port}/absent`)).rejects.toThrow(
      /cannot be used: database "absent" does not exist$/,
    )
    await expect(opening('postgres://perdure:secret@127.0.0.1:1/x')).rejects.toThrow(
      /cannot be used: connect ECONNREFUSED 127.0.0.1:1$/,
    )
  })

  test('a database of a newer version is refused untouched', async () => {
    const connectionString = await sharedCluster().newDatabase()
    const db = await client(connectionString)
    await db.query('create table schema_version (version bigint not null)')
    await db.query('insert into schema_version values (999)')
    await expect(openPostgresStore({ connectionString })).rejects.toThrow(/written by a newer Perdure; /)
    expect((await db.query('select version from schema_version')).rows).toEqual([{ version: '999' }])
  })

  test('ten processes opening a new database at once all get the same schema', async () => {
    const place = await postgresStores.place()
    const stores = await Promise.all(Array.from({ length: 10 }, () => storeAt(place)))
    await Promise.all(stores.map((store, n) => store.pause(`queue-${n}`)))
    expect(await stores[0]!.pause('queue-9')).toBe(false)
  })

  test('text that the database cannot hold fails alone', async () => {
    const store = await servingStore(await postgresStores.place())
    const [good, bad] = [flightIds(1), flightIds(1)]
    const settled = await Promise.allSettled([
      store.admit(admissionOf(good)),
      store.admit(admissionOf(bad, { items: [newPrediction(bad[0]!, { uid: 'nul \u0000' })] })),
    ])
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(await store.get(good[0]!)).toMatchObject({ status: 'pending' })
    expect(await store.get(bad[0]!)).toBeUndefined()
  })

  test('a thousand takes and transitions asked together take few round trips', async () => {
    const store = await servingStore(await postgresStores.place())
    const ids = await admitted(store, 1000)
    const started = performance.now()
    const tokens = await Promise.all(ids.map((id) => taken(store, id)))
    await Promise.all(ids.map((id, n) => store.transition(id, 'succeeded', { outputs: '1' }, tokens[n])))
    const tookMs = performance.now() - started
    expect(tookMs).toBeLessThan(20_000)
    console.log(`1000 take + transition pairs on PostgreSQL: ${tookMs.toFixed(0)} ms`)
  })

  test('what is asked together shares its round trips: a slow network is felt per group, not per prediction', async () => {
    const place = await postgresStores.place()
    if (place.kind !== 'postgres') throw new Error('not a PostgreSQL place')
    const connectionString = await throughSlowNetwork(place.connectionString, 25)
    const store = await servingStore({ kind: 'postgres', connectionString }, 'api-1', {
      writeDeadlineMs: 120_000,
    })
    const direct = Array.from({ length: 500 }, () => flightIds(1)[0]!)
    const started = performance.now()
    await Promise.all(
      direct.map((id) => store.begin({ ...newPrediction(id), queue: 'critical', platform: 'v2' }, 'api-1')),
    )
    const ids = flightIds(200)
    const items = ids.map((id) => newPrediction(id, { idempotency: { key: id, fingerprint: 'f' } }))
    await store.admit(admissionOf(ids, { items }))
    await Promise.all([...direct, ...ids].map((id) => store.cancel(id)))
    expect(await store.count('critical')).toEqual({ waiting: 0, running: 0 })
    // One by one, the 700 would need two round trips each at the least: 35 s.
    expect(performance.now() - started).toBeLessThan(15_000)
  })
})

/** The same database, each packet to it late by so much. */
function throughSlowNetwork(connectionString: string, lateMs: number): Promise<string> {
  return throughProxy(connectionString, (near, far) => {
    near.on('data', (chunk) => setTimeout(() => far.writable && far.write(chunk), lateMs))
    near.on('close', () => far.destroy())
    far.pipe(near)
  })
}

/** The same database, until a connection that has brought so much more is read no further, as by a frozen process. */
async function throughFreezingNetwork(connectionString: string) {
  let left = Number.POSITIVE_INFINITY
  const through = await throughProxy(connectionString, (near, far) => {
    near.pipe(far, { end: false })
    near.on('close', () => left > 0 && far.destroy())
    far.on('data', (chunk: Buffer) => {
      near.write(chunk)
      left -= chunk.length
      if (left <= 0) far.pause()
    })
  })
  return {
    connectionString: through,
    freezeAfter(bytes: number) {
      left = bytes
    },
  }
}

async function throughProxy(
  connectionString: string,
  join: (near: Socket, far: Socket) => void,
): Promise<string> {
  const url = new URL(connectionString)
  const port = Number(url.port)
  const sockets = new Set<Socket>()
  const proxy = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.setNoDelay(true).on('error', () => undefined)
    }
    join(near, far)
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    proxy.close()
  })
  const address = proxy.address()
  url.port = String(address !== null && typeof address === 'object' ? address.port : 0)
  return String(url)
}
