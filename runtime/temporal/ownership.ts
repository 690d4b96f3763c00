/**
 * Looks whether all that is left open has a live workflow, and gives what has none one again: for the ownership check, for
 * `perdure recover` and for each start of `npm start`. Writes no status.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { FlightStart } from '../../contracts/flights.ts'
import { deliveryIdOf, flightIdOf, guardIdOf, keeperIdOf } from '../../contracts/names.ts'
import {
  type FoundOwnerless,
  type LeftOpen,
  type OwnedKind,
  type Ownerless,
  type OwnershipReport,
  ownedKinds,
} from '../../contracts/ownership.ts'
import type { TemporalApi, WorkflowState } from './client.ts'

export interface OwnershipParts {
  store: OpenRecords
  temporal: Pick<
    TemporalApi,
    'running' | 'stateOf' | 'startFlight' | 'startGuard' | 'startDelivery' | 'startKeeper'
  >
  /** `TASK_TYPE_NAME`. */
  queue: string
  onOwnerless?(found: Ownerless & Pick<FoundOwnerless, 'outcome'>): void
}

/** What the store is asked. */
export interface OpenRecords {
  leftOpen(page: { kind: OwnedKind; queue: string; minAgeMs: number; after: string }): Promise<LeftOpen[]>
  flightStarts(prefixes: readonly string[]): Promise<FlightStart[]>
  markStarted(prefixes: readonly string[]): Promise<void>
}

/** Something that is left open and has no live workflow. */
interface Missing {
  kind: OwnedKind
  open: LeftOpen
  /** Of its workflow. */
  id: string
  state: WorkflowState | undefined
  /** Somebody who lives is still to start it. */
  awaited: boolean
}

const counted = {
  flight: 'flights',
  guard: 'guards',
  delivery: 'deliveries',
  validation: 'validations',
} as const satisfies Record<OwnedKind, keyof OwnershipReport['checked']>

/** The first may have come between a record's commit and its start, or between two runs. */
const looks = 2
/** Whoever is still to start it may have a long list. */
const patientLooks = 20
const longestPauseMs = 30_000
/** Questions and starts under way at once. */
const together = 20
const startWithinMs = 30_000

/** Looks for as long as it takes to be sure. Throws when it cannot look; anyone may repeat it. */
export async function checkOwnership(
  parts: OwnershipParts,
  minAgeMs: number,
  signal?: AbortSignal,
): Promise<OwnershipReport> {
  const report = newReport()
  const pauseMs = Math.min(longestPauseMs, minAgeMs / 4)
  const running = await parts.temporal.running()
  let missing = await look(parts, { minAgeMs: () => minAgeMs, asks: (id) => !running.has(id), report })
  for (let looked = 1; missing.length > 0; looked++) {
    const isLost = ({ awaited }: Missing) => looked >= (awaited ? patientLooks : looks)
    await giveOwners(parts, missing.filter(isLost), report)
    const suspects = new Set(missing.filter((one) => !isLost(one)).map(({ id }) => id))
    if (suspects.size === 0) break
    await delay(pauseMs, undefined, { signal })
    missing = await look(parts, { minAgeMs: () => minAgeMs, asks: (id) => suspects.has(id) })
  }
  return report
}

/** One look, without Temporal's list: after a restore it names what is gone. What a living owner is to start is its own. */
export async function recoverOwners(
  parts: OwnershipParts,
  minAgeMs: () => number = () => 0,
): Promise<OwnershipReport> {
  const report = newReport()
  const missing = await look(parts, { minAgeMs, asks: () => true, report })
  await giveOwners(
    parts,
    missing.filter(({ awaited }) => !awaited),
    report,
  )
  return report
}

interface Look {
  minAgeMs(): number
  /** Whether the workflow of this id is to be asked for. */
  asks(id: string): boolean
  /** Where to count what was looked at. */
  report?: OwnershipReport
}

async function look({ store, temporal, queue }: OwnershipParts, by: Look): Promise<Missing[]> {
  const missing: Missing[] = []
  const guards = new Map<string, Promise<boolean>>()

  async function runs(workflowId: string): Promise<boolean> {
    return (await temporal.stateOf(workflowId))?.status === 'RUNNING'
  }

  function hasGuard(processId: string): Promise<boolean> {
    const asked = guards.get(processId) ?? runs(guardIdOf(processId))
    guards.set(processId, asked)
    return asked
  }

  /** A flight that Temporal has seen was started, marked or not. */
  async function isAwaited({ unstartedBy, unsent = false }: LeftOpen, seen: boolean): Promise<boolean> {
    return unsent || (unstartedBy !== undefined && !seen && (await hasGuard(unstartedBy)))
  }

  async function examine(kind: OwnedKind, open: LeftOpen): Promise<void> {
    const id = workflowIdOf[kind](open.id)
    const state = await temporal.stateOf(id)
    if (state?.status === 'RUNNING' || state?.ours === false) return
    if (kind === 'validation' && (await runs(keeperIdOf(id, state?.lastRunId ?? '')))) return
    missing.push({ kind, open, id, state, awaited: await isAwaited(open, state !== undefined) })
  }

  for (const kind of ownedKinds) {
    for (let after = ''; ; ) {
      const page = await store.leftOpen({ kind, queue, minAgeMs: Math.floor(by.minAgeMs()), after })
      const last = page.at(-1)
      if (last === undefined) break
      if (by.report !== undefined) by.report.checked[counted[kind]] += page.length
      const asked = page.filter(({ id }) => by.asks(workflowIdOf[kind](id)))
      await inTurn(asked, (open) => examine(kind, open))
      after = last.id
    }
  }
  return missing
}

const workflowIdOf = {
  flight: flightIdOf,
  guard: guardIdOf,
  delivery: deliveryIdOf,
  validation: (id) => id,
} as const satisfies Record<OwnedKind, (id: string) => string>

async function giveOwners(
  parts: OwnershipParts,
  lost: readonly Missing[],
  report: OwnershipReport,
): Promise<void> {
  await inTurn(lost, async (missing) => {
    const outcome = await start(parts, missing)
    // An API that has never opened holds nothing: nothing was without an owner.
    if (outcome === 'ended' || missing.open.unopened) return
    const { kind, id, state, open } = missing
    const found: Ownerless = { kind, id, closed: state?.status ?? null, ageMs: open.ageMs }
    report.ownerless.push(found)
    parts.onOwnerless?.({ ...found, outcome })
  })
}

/** `ended`: there was nothing left to start. */
async function start(
  { store, temporal }: OwnershipParts,
  { kind, open, state }: Missing,
): Promise<'owned' | 'refused' | 'ended'> {
  if (kind === 'flight') return startFlight(store, temporal, open)
  if (kind === 'guard') await temporal.startGuard(open.id)
  if (kind === 'delivery') await temporal.startDelivery({ id: open.id })
  if (kind === 'validation')
    await temporal.startKeeper(open.id, { first: state?.firstRunId ?? '', last: state?.lastRunId ?? '' })
  return 'owned'
}

async function startFlight(
  store: OpenRecords,
  temporal: OwnershipParts['temporal'],
  { id, unstartedBy }: LeftOpen,
): Promise<'owned' | 'refused' | 'ended'> {
  const [flight] = await store.flightStarts([id])
  if (flight === undefined) return 'ended'
  if ((await temporal.startFlight(flight, startWithinMs)) === 'refused') return 'refused'
  if (unstartedBy !== undefined) await store.markStarted([id])
  return 'owned'
}

function newReport(): OwnershipReport {
  return { checked: { flights: 0, guards: 0, deliveries: 0, validations: 0 }, ownerless: [] }
}

async function inTurn<Item>(items: readonly Item[], each: (item: Item) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += together)
    await Promise.all(items.slice(at, at + together).map(each))
}
