/** The activities that any worker may run: opens a validation, and writes its verdict. Touches no job. */
import { setTimeout as delay } from 'node:timers/promises'
import type { ValidationRequest } from '../contracts/validation.ts'
import type { Verdict } from '../contracts/validation-verdict.ts'
import type { Opened, ValidationActivities } from '../contracts/validations.ts'
import { type StoredValidation, untilStored, type ValidationStore } from '../records/store.ts'
import { hostBound } from '../runners/index.ts'
import { blessingOf } from './blessing.ts'
import { estateOf, type StatusOf } from './estate.ts'
import { heartbeating } from './heartbeat.ts'

export interface ValidationDeps {
  validations: ValidationStore
  /** Host of this worker's runners. */
  host: string
  /** The queue on which that host's runners listen. */
  runnerQueue: string
  onVerdict?(ended: { id: string; verdict: Verdict; createdAt: string }): void
  /** How long a step on that queue waits for a worker; absent = 60 s. */
  hostWaitMs?: number
  /** Asks Temporal. */
  statusOf: StatusOf
}

/** The record is inserted right after the start; an API that died in between never inserts it. */
const recordWithinMs = 10_000
const firstPauseMs = 10
const longestPauseMs = 1_000

export function makeValidationActivities(deps: ValidationDeps): ValidationActivities {
  const { validations, host, runnerQueue, hostWaitMs, statusOf } = deps

  async function open(id: string, template: string | undefined): Promise<StoredValidation | undefined> {
    if (template !== undefined) await takeOver(id, template)
    const endMs = performance.now() + recordWithinMs
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
      const stored = await untilStored(() => validations.get(id))
      if (stored !== undefined) return stored
      if (performance.now() > endMs) return giveUp(id)
      await delay(pauseMs)
    }
  }

  async function takeOver(id: string, template: string): Promise<void> {
    const model = await untilStored(() => validations.get(template))
    if (model === undefined) return
    const { modelName, spec } = model
    await untilStored(() => validations.create({ id, modelName, spec, template }))
  }

  /** Takes the id, so that an insertion that comes later fails and nobody is told that it was accepted. */
  async function giveUp(id: string): Promise<StoredValidation | undefined> {
    const ours = await untilStored(() => validations.create({ id, modelName: '', spec: '{}' }))
    if (!ours) return untilStored(() => validations.get(id))
    const error = { class: 'INTERNAL', message: 'the request was never accepted' } as const
    await untilStored(() => validations.end(id, { verdict: 'ERROR', error }))
    return undefined
  }

  return {
    openValidation: ({ id, template }) =>
      heartbeating(async (): Promise<Opened> => {
        const stored = await open(id, template)
        if (stored === undefined || stored.status === 'ended') return { outcome: 'unknown', host }
        const { servingSpec }: ValidationRequest = JSON.parse(stored.spec)
        if (!hostBound[servingSpec.platform.kind]) return { outcome: 'open', host }
        return { outcome: 'open', host, runnerQueue, ...(hostWaitMs !== undefined && { hostWaitMs }) }
      }),

    estateOf: (input) => heartbeating(() => estateOf(validations, statusOf, input)),

    writeBlessing: (input) =>
      heartbeating(async () => {
        const { id, verdict, error } = input
        await untilStored(() => validations.show(id, { phase: 'concluding' }))
        const blessing = await blessingOf(validations, input)
        const end = () =>
          untilStored(() =>
            validations.end(id, { verdict, ...(error && { error }), ...(blessing && { blessing }) }),
          )
        let ended = await end()
        // Ended before its record came: it shall not come any more.
        if (ended === undefined && (await giveUp(id)) !== undefined) ended = await end()
        if (ended !== undefined) {
          deps.onVerdict?.({ id, verdict: ended.verdict ?? verdict, createdAt: ended.createdAt })
        }
        return { verdict: ended?.verdict ?? verdict, blessing: ended?.blessingId ?? null }
      }),
  }
}
