/** The stores under one contract: where they live, how they are opened, here or in a process of its own. */
import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { describe, onTestFinished } from 'vitest'
import { prefixOf } from '../../contracts/names.ts'
import type { Admission, NewPrediction, Store } from '../../records/store.ts'
import { describeWithCluster, sharedCluster } from './postgres.ts'
import { type OpenOptions, openAt, type Place, type StoreCall } from './store-places.ts'
import { probePostgres, probeSqlite, type StoreProbe } from './store-probe.ts'

export interface StoreKind {
  name: string
  /** A suite over this kind, or its skip with the reason. */
  describe(name: string, define: () => void): void
  /** How often an observer looks at another process. */
  observeEveryMs: number
  /** A new empty place, gone after the test. */
  place(): Promise<Place>
  /** From now on nobody can write, until the returned function is called. */
  block(place: Place): Promise<() => Promise<void>>
}

export const sqliteStores: StoreKind = {
  name: 'SQLite',
  observeEveryMs: 50,
  describe,
  async place() {
    const dataDir = mkdtempSync(join(tmpdir(), 'perdure-store-'))
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }))
    return { kind: 'sqlite', dataDir }
  },
  async block(place) {
    if (place.kind !== 'sqlite') throw new Error('not a SQLite place')
    const { dataDir } = place
    const other = new DatabaseSync(join(dataDir, 'records.db'), { timeout: 5_000 })
    other.exec('BEGIN IMMEDIATE')
    return async () => {
      if (other.isOpen) other.close()
    }
  },
}

export const postgresStores: StoreKind = {
  name: 'PostgreSQL',
  observeEveryMs: 500,
  describe: describeWithCluster,
  async place() {
    return { kind: 'postgres', connectionString: await sharedCluster().newDatabase() }
  },
  async block(place) {
    if (place.kind !== 'postgres') throw new Error('not a PostgreSQL place')
    const other = new pg.Client({ connectionString: place.connectionString })
    await other.connect()
    await other.query('BEGIN; LOCK TABLE predictions, queues, processes, flights IN EXCLUSIVE MODE')
    let ended: Promise<void> | undefined
    return () => (ended ??= other.end())
  },
}

export const storeKinds: readonly StoreKind[] = [sqliteStores, postgresStores]

/** Runs the suite once per kind of store. */
export function describeStores(name: string, define: (kind: StoreKind) => void): void {
  for (const kind of storeKinds) kind.describe(`${name} on ${kind.name}`, () => define(kind))
}

export async function storeAt(place: Place, options: OpenOptions = {}): Promise<Store> {
  const store = await openAt(place, options)
  onTestFinished(() => store.close())
  return store
}

/** Looks at the tables of a place, and changes them, beside its stores. */
export function probeAt(place: Place): StoreProbe {
  const probe =
    place.kind === 'sqlite'
      ? probeSqlite(place.dataDir)
      : probePostgres(place.connectionString, sharedCluster())
  onTestFinished(() => probe.close())
  return probe
}

/** A store with an open process of the given id. */
export async function servingStore(
  place: Place,
  processId = 'api-1',
  options: OpenOptions = {},
): Promise<Store> {
  const store = await storeAt(place, options)
  await store.registerProcess(processId, 'api')
  if (!(await store.openProcess(processId))) throw new Error('the process did not open')
  return store
}

export interface StoreProcess {
  pid: number
  /** Every method runs over there. */
  store: Store
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>
  signal(name: NodeJS.Signals): void
  /** Resolves with the signal that ended it, or null. */
  ended: Promise<NodeJS.Signals | null>
  /** Blocks its main loop for ever. */
  stall(): void
  /** Runs calls side by side in one turn; it kills itself after so many of them have answered. */
  runAndDie(calls: readonly StoreCall[], answersBefore: number): Promise<number>
}

/** Opens the place in a child process. */
export async function storeProcess(place: Place, options: OpenOptions = {}): Promise<StoreProcess> {
  const file = fileURLToPath(new URL('./store-child.ts', import.meta.url))
  const child = fork(file, [JSON.stringify({ place, options })], { serialization: 'advanced', execArgv: [] })
  const ended = once(child, 'exit').then(([, signal]) => signal as NodeJS.Signals | null)
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const ask = questions(child)
  await ask('ready', [])
  const store = new Proxy(
    {},
    {
      get:
        (_, method) =>
        (...args: unknown[]) =>
          ask(String(method), args),
    },
  ) as Store
  return {
    pid: child.pid ?? 0,
    store,
    ended,
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    signal: (name) => void child.kill(name),
    stall: () => void child.send({ n: -1, method: 'stall', args: [] }),
    async runAndDie(calls, answersBefore) {
      let answers = 0
      child.on('message', (message: Reply) => {
        if (message.n === 0) answers++
      })
      child.send({ n: -1, method: 'runAndDie', args: [calls, answersBefore] })
      await ended
      return answers
    },
  }
}

interface Reply {
  n: number
  result?: unknown
  error?: { message: string; code: string }
}

function questions(child: ChildProcess): (method: string, args: unknown[]) => Promise<unknown> {
  const waiting = new Map<number, (reply: Reply) => void>()
  const rejections = new Set<(error: Error) => void>()
  let asked = 0
  child.once('exit', () => {
    for (const reject of rejections) reject(new Error('the store process has ended'))
  })
  child.on('message', (reply: Reply) => {
    waiting.get(reply.n)?.(reply)
    waiting.delete(reply.n)
  })
  return (method, args) =>
    new Promise((resolve, reject) => {
      const n = ++asked
      waiting.set(n, ({ error, result }) =>
        error === undefined ? resolve(result) : reject(Object.assign(new Error(error.message), error)),
      )
      rejections.add(reject)
      child.send({ n, method, args }, (error) => error && reject(error))
    })
}

export const limits = { taskTimeoutMs: 60_000, maxAttempts: 12 }

/** Ids of one flight. */
export function flightIds(count: number): string[] {
  const prefix = prefixOf(randomUUID())
  return Array.from({ length: count }, () => prefix + randomUUID().slice(prefix.length))
}

export function newPrediction(id: string, more: Partial<NewPrediction> = {}): NewPrediction {
  return { id, modelName: 'iris', modelVersion: '', inputs: '{"x":[1]}', uid: '', ...more }
}

export function admissionOf(ids: readonly string[], more: Partial<Admission> = {}): Admission {
  return {
    processId: 'api-1',
    queue: 'critical',
    maxQueueSize: 1000,
    flight: { prefix: prefixOf(ids[0] ?? ''), platform: 'v2', lane: 'call', heartbeatTimeoutMs: 2000 },
    items: ids.map((id) => newPrediction(id)),
    ...more,
  }
}

/** Admits one flight and returns its ids. */
export async function admitted(store: Store, count = 1, more: Partial<Admission> = {}): Promise<string[]> {
  const ids = flightIds(count)
  const answer = await store.admit(admissionOf(ids, more))
  if (answer.outcome !== 'admitted') throw new Error(`admit answered ${answer.outcome}`)
  if (answer.items.some((item) => item.outcome !== 'accepted')) throw new Error('not every item was accepted')
  return ids
}

export async function taken(store: Store, id: string, processId = 'api-1', its = limits): Promise<number> {
  const answer = await store.take(id, processId, its)
  if (answer.outcome !== 'taken') throw new Error(`take answered ${answer.outcome}`)
  return answer.token
}
