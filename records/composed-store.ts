/** The store over any engine: names each write's kind and keys, adds process life. Holds no SQL. */
import { type AbandonRequest, type BeginRequest, type DoubtRequest, makeAdmission } from './admission.ts'
import { makeDeliveryRows, makeDeliveryStore } from './delivery-rows.ts'
import { makeEndings, type TransitionRequest } from './endings.ts'
import { makeFigures } from './figures.ts'
import { makeFileRows } from './file-rows.ts'
import { type Engine, oneByOne, sideBySide, soft, type WriteKind } from './group.ts'
import { type HoldAgainRequest, makeHeldRows } from './held-rows.ts'
import { makeIdempotency } from './idempotency.ts'
import { makeJobs } from './jobs.ts'
import { makeListing } from './listing.ts'
import { type LeaseRequest, makeOutbox } from './outbox.ts'
import { makeProcessRows } from './process-rows.ts'
import { makeProgress } from './progress.ts'
import { makeQueues } from './queues.ts'
import { makeRecovery } from './recovery.ts'
import { makeRetention } from './retention.ts'
import type { Dialect } from './statement.ts'
import type { Admission, Begun, NewTask, ProcessRole, Progress, Store, TaskChange } from './store.ts'
import { makeTakes, type ReleaseRequest, type TakeRequest, unread } from './takes.ts'
import { makeTasks } from './tasks.ts'
import { makeTrackingStore } from './tracking-rows.ts'
import { makeUnstarted, type UnstartedRequest } from './unstarted.ts'
import { makeValidationStore } from './validation-rows.ts'
import { startWatchdog, type WatchdogOptions } from './watchdog.ts'

/** How a process shows the others that it lives. */
export interface ProofOfLife {
  begin(processId: string): Promise<void>
  /** Its row is there now. */
  registered(processId: string): Promise<void>
  /** One look at another process whose row shows this beat. True if it is to be declared dead. */
  isGone(processId: string, beat: number): Promise<boolean>
  /** The row could not be read. */
  lookFailed(processId: string): void
  end(processId: string): Promise<void>
  /** Its row says `dead`: whatever proved its life may be removed. */
  forget(processId: string): Promise<void>
  close(): Promise<void>
}

export interface StoreOptions {
  /** Every change of a record is also written to the outbox, for an external record service. */
  mirror?: boolean
  /** How long an idempotency key stands for its first request. */
  keyLifetimeMs?: number
  watchdog?: WatchdogOptions
}

const dayMs = 24 * 60 * 60 * 1000

export function composeStore(
  dialect: Dialect,
  engine: Engine,
  life: ProofOfLife,
  { mirror = false, keyLifetimeMs = dayMs, watchdog }: StoreOptions,
): Store {
  const deliveries = makeDeliveryRows(dialect)
  const outbox = makeOutbox(dialect, deliveries, { mirror })
  const admission = makeAdmission(dialect, outbox, makeIdempotency(dialect, keyLifetimeMs))
  const takes = makeTakes(dialect, outbox)
  const heldRows = makeHeldRows(dialect, outbox)
  const jobs = makeJobs(dialect)
  const endings = makeEndings(dialect, outbox, jobs)
  const unstartedFlights = makeUnstarted(dialect, endings)
  const progress = makeProgress(dialect, outbox)
  const queues = makeQueues(dialect)
  const figures = makeFigures(dialect)
  const listing = makeListing(dialect)
  const processes = makeProcessRows(dialect)
  const tasks = makeTasks(dialect, outbox, jobs, listing)
  const files = makeFileRows(dialect)
  const recovery = makeRecovery(dialect)
  const retention = makeRetention(dialect, keyLifetimeMs)

  const register = oneByOne(everything, (r: { id: string; role: ProcessRole }, now) =>
    processes.register(r.id, r.role, now),
  )
  const open = oneByOne(everything, (id: string) => processes.open(id))
  const closeRow = oneByOne(everything, (id: string) => processes.close(id))
  const die = oneByOne(everything, (r: { id: string; beat?: number }) => processes.die(r.id, r.beat))
  const admit = oneByOne(
    (r: Admission) => r.items.map((item) => item.id),
    (r, now) => admission.admit(r, now),
  )
  // A direct call is answered after its end is written; a call taken or released and forgotten is only made again.
  const begin: WriteKind<BeginRequest, Begun> = soft({
    keys: (r) => [r.prediction.id],
    run: admission.begin,
  })
  const take: WriteKind<TakeRequest, Awaited<ReturnType<Store['take']>>> = soft({
    keys: ownId,
    run: takes.take,
    readBehind: takes.readInputs,
  })
  const release = soft(sideBySide(ownId<ReleaseRequest>, (r, now) => takes.release(r, now)))
  const holdAgain = soft(sideBySide(ownId<HoldAgainRequest>, (r, now) => heldRows.holdAgain(r, now)))
  const letGo = soft(sideBySide(ownId<HoldAgainRequest>, (r) => heldRows.letGo(r)))
  const transition: WriteKind<TransitionRequest, Awaited<ReturnType<Store['transition']>>> = {
    keys: ownId,
    run: endings.transition,
  }
  const settleDoubt = oneByOne(everything, (r: DoubtRequest, now) => admission.settleDoubt(r, now))
  const abandonBegun = oneByOne(everything, (r: AbandonRequest, now) => admission.abandonBegun(r, now))
  const cancel = sideBySide(
    (id: string) => [id],
    (id, now) => endings.cancel(id, now),
  )
  const endOverdue = sideBySide(
    (ids: readonly string[]) => ids,
    (ids, now) => endings.endOverdue(ids, now),
  )
  // Whatever the run has given comes again with the next look at it.
  const note = soft(
    sideBySide(ownId<{ id: string; token: number; progress: Progress }>, (r, now) =>
      progress.note(r.id, r.token, r.progress, now),
    ),
  )
  const deletePending = oneByOne(everything, (r: { queue: string; modelName: string | undefined }, now) =>
    endings.deletePending(r.queue, r.modelName, now),
  )
  const pause = oneByOne(everything, (queue: string) => queues.pause(queue))
  const unpause = oneByOne(everything, (queue: string) => queues.unpause(queue))
  const settle = oneByOne(everything, (r: { processId: string; errorInfo: string }, now) =>
    endings.settle(r.processId, r.errorInfo, now),
  )
  const unstarted = oneByOne(everything, (r: UnstartedRequest, now) => unstartedFlights.page(r, now))
  const markStarted = soft(sideBySide(none, (prefixes: readonly string[]) => admission.markStarted(prefixes)))
  const beginJob = sideBySide(ownId<{ id: string; token: number }>, (r) => jobs.begin(r.id, r.token))
  const jobCreated = sideBySide(ownId<{ id: string; handle: string }>, (r) => jobs.created(r.id, r.handle))
  const jobRefused = sideBySide(
    (id: string) => [id],
    (id) => jobs.refused(id),
  )
  const cancelHeard = sideBySide(
    (id: string) => [id],
    (id) => jobs.heard(id),
  )
  const createTask = sideBySide(ownId<NewTask>, (task, now) => tasks.create(task, now))
  const updateTask = sideBySide(ownId<{ id: string; change: TaskChange }>, (r, now) =>
    tasks.update(r.id, r.change, now),
  )
  const addFile = sideBySide(none, (r: { name: string; predictionId: string }, now) =>
    files.add(r.name, r.predictionId, now),
  )
  const forgetFiles = sideBySide(none, (names: readonly string[]) => files.forget(names))
  const outboxLease = sideBySide(
    (r: LeaseRequest) => [`outbox ${r.seq}`],
    (r, now) => outbox.lease(r, now),
  )
  const outboxDone = sideBySide(none, (seq: number) => outbox.done(seq))
  const expire = oneByOne(everything, (retentionMs: number, now) => retention.expire(retentionMs, now))

  let stopWatchdog: (() => void) | undefined

  return {
    async registerProcess(processId, role) {
      // First the proof, then the row: nobody may ever see a row whose process seems gone.
      await life.begin(processId)
      await engine.write(register, { id: processId, role })
      await life.registered(processId)
      stopWatchdog ??= startWatchdog(watchdog)
    },
    openProcess: (processId) => engine.write(open, processId),
    closeProcess: (processId) => engine.write(closeRow, processId),
    async observeProcess(processId) {
      const row = await engine
        .read(() => processes.look(processId))
        .catch((error: unknown) => {
          life.lookFailed(processId)
          throw error
        })
      if (row === undefined) return 'unknown'
      if (row.state === 'dead' || !(await life.isGone(processId, row.beat))) return row.state
      const state = await engine.write(die, { id: processId, beat: row.beat })
      if (state === 'dead') await life.forget(processId)
      return state
    },
    async leaveProcess(processId) {
      await life.end(processId)
      await engine.write(die, { id: processId })
      await life.forget(processId)
    },

    admit: (request) => engine.write(admit, request),
    settleDoubt: (queue, ids) => engine.write(settleDoubt, { queue, ids }),
    begin: (prediction, processId) => engine.write(begin, { prediction, processId }),
    abandonBegun: (processId, ids) => engine.write(abandonBegun, { processId, ids }),
    async take(id, processId, limits, again = false) {
      const taken = await engine.write(take, { id, processId, limits, again })
      if (taken.outcome !== 'taken' || taken.inputs !== unread) return taken
      return { ...taken, inputs: (await engine.read(() => listing.inputs(id))) ?? 'null' }
    },
    heldBy: (processId) => engine.read(() => heldRows.heldBy(processId)),
    notHeld: (ids) => engine.read(() => heldRows.notHeld(ids)),
    holdAgain: (id, processId, token) => engine.write(holdAgain, { id, processId, token }),
    letGo: (id, processId, token) => engine.write(letGo, { id, processId, token }),
    release: (id, token, retryInMs, code) => engine.write(release, { id, token, retryInMs, code }),
    transition: (id, to, fields, token) => engine.write(transition, { id, to, fields, token }),
    cancel: (id) => engine.write(cancel, id),
    endOverdue: (ids) => engine.write(endOverdue, ids),
    progress: (id, token, seen) => engine.write(note, { id, token, progress: seen }),
    deletePending: (queue, modelName) => engine.write(deletePending, { queue, modelName }),

    pause: (queue) => engine.write(pause, queue),
    unpause: (queue) => engine.write(unpause, queue),
    waitingFlights: (queue, after, limit) => engine.read(() => queues.waitingFlights(queue, after, limit)),

    get: (id) => engine.read(() => listing.get(id)),
    inputsOf: (id) => engine.read(() => listing.inputs(id)),
    list: (filter) => engine.read(() => listing.list(filter)),
    count: (queue) => engine.read(() => queues.count(queue)),
    figures: (queue, overdueAfterMs) => engine.read(() => figures.figures(queue, overdueAfterMs)),
    terminalAmong: (ids) => engine.read(() => listing.terminalAmong(ids)),
    meanRunMs: (modelName) => engine.read(() => queues.meanRunMs(modelName)),

    settle: (processId, errorInfo) => engine.write(settle, { processId, errorInfo }),
    unstarted: (processId, after) => engine.write(unstarted, { processId, after }),
    flightsHeldBy: (processId) => engine.read(() => queues.flightsHeldBy(processId)),
    markStarted: (prefixes) => engine.write(markStarted, prefixes),

    beginJob: (id, token) => engine.write(beginJob, { id, token }),
    jobRefused: (id) => engine.write(jobRefused, id),
    jobCreated: (id, handle) => engine.write(jobCreated, { id, handle }),
    jobOf: (id) => engine.read(() => jobs.of(id)),
    cancelsDue: (ids) => engine.read(() => jobs.dueAmong(ids)),
    cancelHeard: (id) => engine.write(cancelHeard, id),

    outboxNext: (ids) => engine.read(() => outbox.next(ids)),
    outboxLease: (seq, sender, forMs) => engine.write(outboxLease, { seq, sender, forMs }),
    outboxDone: (seq) => engine.write(outboxDone, seq),
    outboxOwedBy: (processId, limit) => engine.read(() => outbox.owedBy(processId, limit)),

    leftOpen: (page) => engine.read(() => recovery.leftOpen(page)),
    flightStarts: (prefixes) => engine.read(() => recovery.flightStarts(prefixes)),

    deliveries: makeDeliveryStore(deliveries, engine),

    createTask: (task) => engine.write(createTask, task),
    updateTask: (id, change) => engine.write(updateTask, { id, change }),

    addFile: (name, predictionId) => engine.write(addFile, { name, predictionId }),
    oldFiles: (retentionMs, limit) => engine.read(() => files.old(retentionMs, limit)),
    forgetFiles: (names) => engine.write(forgetFiles, names),

    validations: makeValidationStore(dialect, engine),
    tracking: makeTrackingStore(dialect, engine),

    async expire(retentionMs) {
      for (let total = 0; ; ) {
        const { deleted, more } = await engine.write(expire, retentionMs)
        total += deleted
        if (!more) return total
      }
    },
    async ping() {
      await engine.read(() => processes.look(''))
    },
    async close() {
      await engine.close()
      stopWatchdog?.()
      await life.close()
    },
  }
}

const everything = () => 'all' as const
const none = () => []
const ownId = <Request extends { id: string }>(request: Request) => [request.id]
