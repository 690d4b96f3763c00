/** The gate on the prediction path: only models with a valid blessing serve. Owns modes and cached look-ups; writes nothing. */
import { ServiceError } from '../contracts/errors.ts'
import { decidingBlessing, type GateReason, gateAgainst, type Live } from '../contracts/gate.ts'
import type { GateMode } from '../contracts/models.ts'
import type { ModelRoute } from '../platforms/routing.ts'
import type { ValidationStore } from '../records/store.ts'

export interface Gate {
  /**
   * Serves if the model may serve. `required`: throws `model_not_blessed` with all reasons, and `serve` is not called;
   * `warn`: the answer carries them in the header `Perdure-Gate`.
   */
  serve(target: ModelRoute, serve: () => Promise<Response>): Promise<Response>
}

export interface GateOptions {
  validations: Pick<ValidationStore, 'blessingsOf'>
  /** `GATE`; a line of the models file may say otherwise for its model. */
  mode: GateMode
}

/** A revocation takes effect within this time. */
const keptMs = 1_000
const keptModels = 1_000
/** Blessings of one model that are looked at. */
const lookedAt = 50

/** For an API without validations. */
export const openGate: Gate = { serve: (_target, serve) => serve() }

export function makeGate({ validations, mode: standard }: GateOptions): Gate {
  const known = new Map<string, { reasons: Promise<GateReason[]>; until: number }>()

  async function look(live: Live, names: readonly string[]): Promise<GateReason[]> {
    const found = await validations.blessingsOf({ digest: live.modelDigest ?? '', names, limit: lookedAt })
    return gateAgainst(decidingBlessing(found, live), live, {}, new Date())
  }

  function reasonsOf({ name, upstreamName, modelDigest, imageDigest }: ModelRoute): Promise<GateReason[]> {
    const key = [name, upstreamName, modelDigest, imageDigest].join('\n')
    const now = performance.now()
    const earlier = known.get(key)
    if (earlier !== undefined && now < earlier.until) return earlier.reasons
    if (known.size >= keptModels) known.clear()
    const live = { ...(modelDigest && { modelDigest }), ...(imageDigest && { imageDigest }) }
    const reasons = look(live, [name, upstreamName])
    known.set(key, { reasons, until: now + keptMs })
    // A store that is away is asked again by the next request.
    reasons.catch(() => known.delete(key))
    return reasons
  }

  async function judged(
    target: ModelRoute,
    mode: Exclude<GateMode, 'off'>,
    serve: () => Promise<Response>,
  ): Promise<Response> {
    const reasons = await reasonsOf(target)
    if (reasons.length > 0 && mode === 'required') {
      throw new ServiceError('model_not_blessed', `the model is not blessed: ${reasons.join(', ')}`)
    }
    const response = await serve()
    if (reasons.length > 0) response.headers.set('perdure-gate', `warn; ${reasons.join(', ')}`)
    return response
  }

  return {
    serve(target, serve) {
      const mode = target.gate ?? standard
      return mode === 'off' ? serve() : judged(target, mode, serve)
    },
  }
}
