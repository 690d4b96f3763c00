/** What a process tells of its predictions: counted in its metrics, one log line each. Changes nothing. */
import type { EndEvent } from './activities/told.ts'
import type { FlightStart } from './contracts/flights.ts'
import { flightIdOf, type PlatformName } from './contracts/names.ts'
import type { FoundOwnerless } from './contracts/ownership.ts'
import { isTerminal } from './contracts/statuses.ts'
import type { Logger } from './logging.ts'
import type { Metrics, PlatformCall } from './metrics.ts'
import type { Store, StoredPrediction } from './records/store.ts'

export interface ReportParts {
  store: Pick<Store, 'get'>
  metrics: Metrics
  log: Logger
}

/** Of the workers' side: predictions in flights, validations. */
export function makeWorkerReports(parts: ReportParts) {
  const { metrics, log } = parts
  const about = (prediction: string) => ({ prediction, workflow: flightIdOf(prediction) })
  return {
    onEnd({ createdAtMs, startedAtMs, endedAtMs, ...ended }: EndEvent): void {
      metrics.finished({
        ...ended,
        createdAt: new Date(createdAtMs).toISOString(),
        startedAt: new Date(startedAtMs).toISOString(),
        endedAt: new Date(endedAtMs).toISOString(),
        queueId: flightIdOf(ended.id),
      })
      const { id, modelName: model, platform, status, code } = ended
      log.info(
        { ...about(id), model, platform, status, code, ms: endedAtMs - startedAtMs },
        'prediction ended',
      )
    },
    onCall: (call: PlatformCall) => reportCall(parts, call, about(call.id)),
    onUnknownWord({
      id,
      word,
      ...where
    }: {
      id: string
      model: string
      platform: PlatformName
      word: string
    }) {
      metrics.unknownWord(where)
      const text = 'the provider uses a status word unknown here; its job is polled on'
      log.warn({ ...about(id), ...where, word }, text)
    },
    onCancelHeard: makeCancelHeard(parts),
    onOperatorCancel: (predictions: number) => metrics.canceled('operator', predictions),
    onOverdue: (predictions: number) => metrics.canceled('deadline', predictions),
    onRefused: makeRefused(parts),
    onVerdict({ id, verdict, createdAt }: { id: string; verdict: string; createdAt: string }) {
      metrics.validationEnded(verdict, Math.max(0, Date.now() - Date.parse(createdAt)) / 1000)
      log.info({ validation: id, workflow: id, verdict }, 'validation ended')
    },
    onOwnerless({ kind, id, closed, ageMs, found, outcome }: FoundOwnerless): void {
      metrics.ownerless(kind, found)
      const about = { workflow: id, kind, closed, ageMs: Math.round(ageMs), found }
      if (outcome === 'owned') log.error(about, 'an open record had no live workflow; it has one again')
      else log.error(about, 'an open record has no live workflow, and Temporal refuses to start one')
    },
    onOwnershipChecked: metrics.ownershipChecked,
    onTry(outcome: string, { delivery, prediction }: { delivery: string; prediction: string }) {
      metrics.delivery(outcome)
      log.info({ prediction, delivery, outcome }, 'webhook')
    },
  }
}

/** Of the API's side: what it calls itself, starts and cancels. */
export function makeApiReports(parts: ReportParts) {
  const { store, metrics } = parts
  return {
    onCall: (call: PlatformCall) => reportCall(parts, call, { prediction: call.id }),
    onCancelHeard: makeCancelHeard(parts),
    onFlight: metrics.flightStarted,
    onRefused: makeRefused(parts),
    onReplay: metrics.idempotentReplay,
    onStreamEnd: metrics.finished,
    onCanceled(id: string): void {
      metrics.canceled('caller', 1)
      whenRead(store, id, (record) => {
        if (isTerminal(record.status)) metrics.finished({ ...record, status: record.status })
      })
    },
  }
}

function makeRefused({ metrics, log }: ReportParts) {
  return ({ prefix, ids }: FlightStart): void => {
    metrics.startRefused()
    const line = { workflow: flightIdOf(prefix), predictions: ids.length }
    log.error(line, 'Temporal refuses to start an accepted flight; it is asked again each minute')
  }
}

function reportCall({ metrics, log }: ReportParts, call: PlatformCall, about: object): void {
  metrics.platformCall(call)
  const { model, platform, code, retryInMs } = call
  if (retryInMs === undefined) return
  const line = { ...about, model, platform, code, retryMs: Math.round(retryInMs) }
  log.info(line, 'a platform call failed; it is made again')
}

/** From the record's end by a cancel to now. */
function makeCancelHeard({ store, metrics }: ReportParts) {
  return ({ id, platform }: { id: string; platform: PlatformName }): void => {
    const heardMs = Date.now()
    whenRead(store, id, ({ status, endedAt }) => {
      if (status !== 'canceled' || endedAt === null) return
      metrics.cancelHeard(platform, Math.max(0, heardMs - Date.parse(endedAt)) / 1000)
    })
  }
}

/** A store that is away: one measure less. */
function whenRead(store: ReportParts['store'], id: string, use: (record: StoredPrediction) => void): void {
  store.get(id).then(
    (record) => record && use(record),
    () => undefined,
  )
}
