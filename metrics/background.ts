/** What is counted of work beside the predictions: webhook deliveries, validations, Temporal, ownership checks. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { type CheckOccasion, checkOccasions, type OwnedKind, ownedKinds } from '../contracts/ownership.ts'
import { verdicts } from '../contracts/validation-verdict.ts'

export interface BackgroundMetrics {
  /** One try; `waiting` = it is tried again. */
  delivery(outcome: string): void
  validationEnded(verdict: string, seconds: number): void
  /** Whether Temporal answers this process. */
  temporalAnswers(answers: boolean): void
  /** Temporal takes no start of a flight that was accepted. */
  startRefused(): void
  /** An open record had no live workflow: a fault. */
  ownerless(kind: OwnedKind, found: CheckOccasion): void
  ownershipChecked(): void
}

const minutes = [5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200]

export function makeBackgroundMetrics(registers: Registry[]): BackgroundMetrics {
  const deliveries = new Counter({
    name: 'webhook_deliveries_total',
    help: 'Tries to deliver user webhooks by outcome; waiting = it is tried again',
    labelNames: ['outcome'],
    registers,
  })
  const validations = new Counter({
    name: 'validations_total',
    help: 'Ended validations by verdict',
    labelNames: ['verdict'],
    registers,
  })
  const validationTime = new Histogram({
    name: 'validation_seconds',
    help: 'From the request of a validation to its verdict',
    buckets: minutes,
    registers,
  })
  const temporal = new Gauge({
    name: 'temporal_available',
    help: '1 while Temporal answers this API; at 0 what is accepted waits for it',
    registers,
  })
  // Only who asks has a value.
  temporal.remove()
  const refusedStarts = new Counter({
    name: 'flight_starts_refused_total',
    help: 'Flights that were accepted and that Temporal refuses to start: a fault of Perdure',
    registers,
  })
  const ownerless = new Counter({
    name: 'records_ownerless_total',
    help: 'Open records found without a live workflow, each a fault, by what is missing and by what found it',
    labelNames: ['kind', 'found'],
    registers,
  })
  const checks = new Counter({
    name: 'ownership_checks_total',
    help: 'Ownership checks that have looked at everything',
    registers,
  })
  // Shown from the start: a rate of nothing is 0, not absent.
  for (const outcome of ['succeeded', 'waiting', 'failed', 'gone']) deliveries.inc({ outcome }, 0)
  for (const verdict of verdicts) validations.inc({ verdict }, 0)
  for (const kind of ownedKinds) for (const found of checkOccasions) ownerless.inc({ kind, found }, 0)
  return {
    temporalAnswers: (answers) => temporal.set(answers ? 1 : 0),
    startRefused: () => refusedStarts.inc(),
    delivery: (outcome) => deliveries.inc({ outcome }),
    validationEnded(verdict, seconds) {
      validations.inc({ verdict })
      validationTime.observe(seconds)
    },
    ownerless: (kind, found) => ownerless.inc({ kind, found }),
    ownershipChecked: () => checks.inc(),
  }
}
