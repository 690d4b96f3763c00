/**
 * `npm run bench -- chaos`: steady load on a production set while each of its processes is killed with -9 in turn and
 * started again. Measures how long each kind of kill is felt; at the end every promise is checked.
 */
import { performance } from 'node:perf_hooks'
import { type ChaosLoad, startChaosLoad } from './chaos-load.ts'
import { type ChaosRecords, chaosRecords } from './chaos-records.ts'
import { brokenPromises } from './chaos-verdict.ts'
import { keepAsking } from './ownership.ts'
import { run, until } from './processes.ts'
import { type ProductionSet, startProductionSet } from './production-set.ts'
import type { Bench, Row } from './report.ts'
import type { Supervised } from './supervised.ts'

export interface ChaosOptions {
  seconds: number
  /** Asynchronous requests per second; a quarter as many synchronous ones on top. */
  rate: number
  /** One kind of kill: `Temporal`. Default: all, in turn. */
  only?: string
}

/** How long one kill was felt, in milliseconds from the kill. */
interface Felt {
  kind: string
  /** Longest wait of a client, its tries on the other API included, for an asynchronous request to be accepted. */
  acceptMs: number
  /** A prediction sent right after the kill had ended. */
  completesMs: number
  /** All that was open at the kill had ended. */
  openEndedMs: number
  /** Everything that was killed runs again. */
  wholeMs: number
}

const pauseMs = 1_000
const recoveredWithinMs = 120_000
/** Between the end of one recovery and the next kill. */
const calmMs = 2_000

export async function benchChaos(options: ChaosOptions): Promise<Bench> {
  const { rate } = options
  const platform = await run('bench/chaos-platform.ts', { speaks: true })
  const address = `127.0.0.1:${platform.said.port}`
  console.error('starting PostgreSQL, Temporal, 2 APIs, 2 workers …')
  const set = await startProductionSet({
    platform: address,
    shards: 16,
    pauseMs,
    env: {
      WORKER_CONCURRENCY: '32',
      MAX_QUEUE_SIZE: '100000',
      TASK_TIMEOUT: '120s',
      V2_REQUEST_TIMEOUT: '60s',
    },
  })
  let broken: string[] = ['the run did not end']
  const records = chaosRecords(set.databaseUrl)
  const stopAsking = keepAsking(() => set.temporalAddress, set.taskQueue)
  try {
    await set.ready(120_000)
    await records.noteStatuses()
    const load = startChaosLoad({
      origins: set.origins,
      asyncPerSecond: rate,
      syncPerSecond: rate / 4,
      patienceMs: recoveredWithinMs,
    })
    const { felt, late } = await killInTurn(set, load, records, options)
    console.error('load ends; waiting for what is open …')
    await load.stop()
    broken = [...late, ...(await brokenPromises({ set, load, records, platform: `http://${address}` }))]
    return { rows: rowsOf(felt, load, set), broken, notes: notesOf(felt, load) }
  } finally {
    stopAsking()
    await records.close()
    const keep = broken.length > 0
    if (keep) console.error(`logs of all processes: ${set.folder}`)
    await set.stop(keep)
    await platform.stop()
  }
}

async function killInTurn(
  set: ProductionSet,
  load: ChaosLoad,
  records: ChaosRecords,
  { seconds, only }: ChaosOptions,
) {
  const felt: Felt[] = []
  const late: string[] = []
  const endMs = performance.now() + seconds * 1_000
  const [api1, api2] = set.apis
  const [worker1, worker2] = set.workers
  const all: [string, (Supervised | undefined)[]][] = [
    ['a worker', [worker1]],
    ['an API', [api1]],
    ['Temporal', [set.temporal]],
    ['PostgreSQL', [set.postgres]],
    ['both workers', [worker1, worker2]],
    ['both APIs', [api1, api2]],
    ['everything', [set.postgres, set.temporal, api1, api2, worker1, worker2]],
  ]
  const turns = all.filter(([kind]) => only === undefined || kind === only)
  if (turns.length === 0) throw new Error(`unknown kind; known: ${all.map(([kind]) => kind).join(', ')}`)
  for (let turn = 0; ; turn++) {
    await new Promise((resolve) => setTimeout(resolve, calmMs))
    if (performance.now() > endMs) return { felt, late }
    const [kind, parts] = turns[turn % turns.length]!
    const victims = parts.filter((part) => part !== undefined)
    try {
      const one = await kill(kind, victims, load, records)
      felt.push(one)
      console.error(
        `kill -9 of ${kind}: ${measured.map(([short, , of]) => `${short} ${inS(of(one))} s`).join(', ')}`,
      )
    } catch (error) {
      late.push(`after kill -9 of ${kind}: ${error instanceof Error ? error.message : error}`)
      console.error(late.at(-1))
      return { felt, late }
    }
  }
}

async function kill(
  kind: string,
  victims: Supervised[],
  load: ChaosLoad,
  records: ChaosRecords,
): Promise<Felt> {
  const open = await records.open()
  const atMs = performance.now()
  const since = () => performance.now() - atMs
  await Promise.all(victims.map((victim) => victim.kill()))

  async function completes(): Promise<number> {
    const { id } = await load.submit()
    await until(
      `prediction ${id}`,
      recoveredWithinMs,
      async () => (await records.openAmong([id])).length === 0,
    )
    return since()
  }
  async function openEnded(): Promise<number> {
    const ended = async () => (await records.openAmong(open)).length === 0
    await until(`what was open (${open.slice(0, 5).join(', ')} …)`, recoveredWithinMs, ended)
    return since()
  }
  async function whole(): Promise<number> {
    await Promise.all(victims.map(({ name, ready }) => until(name, recoveredWithinMs, ready, 50)))
    return since()
  }
  const [completesMs, openEndedMs, wholeMs] = await Promise.all([completes(), openEnded(), whole()])
  const during = load.accepted.filter(({ beganMs, tookMs }) => beganMs + tookMs >= atMs)
  const acceptMs = Math.max(0, ...during.map(({ tookMs }) => tookMs))
  return { kind, acceptMs, completesMs, openEndedMs, wholeMs }
}

const measured = [
  ['accepted', 'longest wait of a client to be accepted', (one: Felt) => one.acceptMs],
  ['new ends', 'a prediction sent right after the kill has ended', (one: Felt) => one.completesMs],
  ['open ended', 'all that was open at the kill has ended', (one: Felt) => one.openEndedMs],
  ['running', 'all that was killed runs again', (one: Felt) => one.wholeMs],
] as const

function rowsOf(felt: readonly Felt[], load: ChaosLoad, set: ProductionSet): Row[] {
  const rows = kindsOf(felt).flatMap(([kind, ones]) =>
    measured.map(([, what, of]) => ({
      name: `${kind}: ${what}, median`,
      unit: 's',
      value: median(ones.map(of)) / 1_000,
      worst: Math.max(...ones.map(of)) / 1_000,
    })),
  )
  const parts = [set.postgres, set.temporal, ...set.apis, ...set.workers]
  const alone = parts.reduce((sum, part) => sum + part.endedAlone(), 0)
  return [
    ...rows,
    { name: 'accepted asynchronous predictions', unit: '', value: load.accepted.length },
    { name: 'answered synchronous predictions', unit: '', value: load.served.length },
    { name: 'kills', unit: '', value: felt.length },
    { name: 'processes that ended by themselves', unit: '', value: alone },
  ]
}

/** The table for people, and what clients were told meanwhile. */
function notesOf(felt: readonly Felt[], load: ChaosLoad): string[] {
  const line = (cells: readonly string[]) =>
    cells.map((cell, at) => (at === 0 ? cell.padEnd(14) : cell.padStart(14))).join('')
  const table = kindsOf(felt).map(([kind, ones]) =>
    line([
      kind,
      `${ones.length}`,
      ...measured.map(([, , of]) => {
        const values = ones.map(of)
        return `${inS(median(values))} ${inS(Math.max(...values))}`
      }),
    ]),
  )
  const refusals = [...load.refusals].toSorted(([, a], [, b]) => b - a)
  return [
    'Seconds from kill -9, median and worst:',
    line(['killed', 'times', ...measured.map(([short]) => short)]),
    ...table,
    '',
    ...measured.map(([short, what]) => `${short.padEnd(12)}${what}`),
    '',
    'Answers that made a client try again:',
    ...refusals.slice(0, 10).map(([text, count]) => `${count} × ${text}`),
  ]
}

function kindsOf(felt: readonly Felt[]): [string, Felt[]][] {
  const kinds = new Set(felt.map(({ kind }) => kind))
  return [...kinds].map((kind) => [kind, felt.filter((one) => one.kind === kind)])
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

function inS(ms: number): string {
  return (ms / 1_000).toFixed(1)
}
