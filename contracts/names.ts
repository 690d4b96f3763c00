/**
 * Glossary, and the names that processes agree on: workflows, task queues, signals, ids. Free of zod.
 *
 * - prediction: one inference request, from acceptance to a terminal status ("task" on the inherited wire)
 * - record: its row in the store
 * - flight: one workflow run that carries 1..N predictions accepted together
 * - lane: how a flight runs its predictions: `call` (the answer comes on the request) or `job` (create, then poll)
 * - guard: one workflow per API process; when the process is gone it ends or starts what the process held
 * - platform: where predictions are sent; protocol: how to talk to one kind of model server
 * - runner: launches one model-server job; validation: runs a candidate through a runner and probes it
 * - keeper: one workflow beside each validation; when an operator has terminated that, stops its jobs and ends its record
 * - blessing: the verdict of a validation; the gate reads it
 * - ownership check: one workflow an hour that looks whether every open record has a live workflow; each that has none is a
 *   fault, and gets one again
 */

export const workflowNames = {
  flight: 'flight',
  guard: 'guard',
  validation: 'validation',
  keeper: 'keeper',
  delivery: 'delivery',
  batch: 'batch',
  retention: 'retention',
  ownershipCheck: 'ownershipCheck',
  wake: 'wake',
  cleanup: 'cleanup',
  reaper: 'reaper',
} as const

/**
 * A decision that a killed worker had in its hands is given to another one after this long; 10 s if nothing is said.
 * One takes milliseconds: a worker so starved that it needs longer has it taken away and loses nothing.
 */
export const workflowTaskTimeoutMs = 3_000

/** Wakes a waiting flight before its timer: after `/unpause`, after a cancel. To `wake-<queue>`: all that wait in it. */
export const wakeSignal = 'wake'

export const lanes = ['call', 'job'] as const
export type Lane = (typeof lanes)[number]

export const platformNames = ['kserve', 'k8s', 'replicate', 'runpod', 'v2'] as const
export type PlatformName = (typeof platformNames)[number]

export const platformLanes = {
  kserve: 'call',
  k8s: 'call',
  replicate: 'job',
  runpod: 'job',
  v2: 'call',
} as const satisfies Record<PlatformName, Lane>

/** The Temporal task queue of a deployment; `TASK_TYPE_NAME` keeps deployments on one namespace apart. */
export function taskQueueOf(taskTypeName: string): string {
  return `perdure-${taskTypeName}`
}

/** Guards have a queue of their own, so that no backlog of predictions delays them. */
export function guardQueueOf(taskQueue: string): string {
  return `${taskQueue}-guard`
}

/** Receivers that hang must keep nobody else waiting: tries to deliver webhooks have a queue of their own. */
export function deliveryQueueOf(taskQueue: string): string {
  return `${taskQueue}-delivery`
}

/** Validations last minutes: on a queue of their own they keep no prediction from its place. */
export function validationQueueOf(taskQueue: string): string {
  return `${taskQueue}-validation`
}

/** Host-bound runners (docker, process) listen on the queue of their host; each deployment there on its own. */
export function runnerQueueOf(host: string, taskQueue: string): string {
  return `runner-${host}-${taskQueue}`
}

/** All ids of a flight share their first 18 characters, 60 of whose bits are random. */
export const prefixLength = 18

export function prefixOf(predictionId: string): string {
  return predictionId.slice(0, prefixLength)
}

/** `3fa85f64-5717-4562-…` flies in `flight-3fa85f64-5717-4562`: an id finds its workflow without a lookup. */
export function flightIdOf(predictionIdOrPrefix: string): string {
  return `flight-${predictionIdOrPrefix.slice(0, prefixLength)}`
}

/** One per event; the id is its `webhook-id`. */
export function deliveryIdOf(deliveryId: string): string {
  return `delivery-${deliveryId}`
}

/** One per run of a validation's workflow. */
export function keeperIdOf(validationId: string, runId: string): string {
  return `keeper-${validationId}-${runId}`
}

/** The check at a worker's start. The schedule of this name puts the hour behind it. */
export function ownershipIdOf(taskQueue: string): string {
  return `ownership-${taskQueue}`
}

/** One per queue. */
export function wakeIdOf(queue: string): string {
  return `wake-${queue}`
}

export function guardIdOf(processId: string): string {
  return `guard-${processId}`
}
