/** The first write of a direct call: its record, running and held by this process, before anything is sent. */
import { withUploadAddress } from '../platforms/inputs.ts'
import { type HeldCall, type HeldCalls, isInDoubt, type Store } from '../records/store.ts'
import type { Doubts } from './doubts.ts'
import { makeFlightIds } from './ids.ts'
import type { AcceptedRequest } from './predictions.ts'
import { mismatch, notOpen } from './refusals.ts'
import type { SendLater } from './send-later.ts'

export interface BeginDeps {
  store: Pick<Store, 'begin'>
  doubts: Pick<Doubts, 'begun'>
  held: HeldCalls
  processId: string
  queue: string
  /** Absent: no external record service is told of anything. */
  mirror?: SendLater | undefined
  /** The store says that this process is dead: it must exit. */
  onDead(): void
}

export type DirectBegun =
  /** `inputs` as they are to be sent; `token` writes a failure; `hold` is done once the record is written. */
  | { id: string; token: number; inputs: string; hold: HeldCall }
  /** An earlier request with the same key stands for this one. */
  | { id: string; token?: undefined }

/** Throws `idempotency_mismatch` and what an API that is not open answers. */
export async function beginDirect(deps: BeginDeps, request: AcceptedRequest): Promise<DirectBegun> {
  const { store, held, doubts, processId, queue } = deps
  const { target, uid, idempotency, trace } = request
  const id = makeFlightIds(1).ids[0]!
  const inputs = withUploadAddress(request.inputs, request.uploadAddress?.(id))
  const { name: modelName, version: modelVersion, platform } = target
  const prediction = {
    ...{ id, modelName, modelVersion, inputs, uid, queue, platform },
    ...(idempotency && { idempotency }),
    ...(trace !== undefined && { trace }),
  }
  const hold = held.hold(id)
  const unheard = () => {
    hold.done()
    deps.mirror?.send(id)
  }
  const begun = await store.begin(prediction, processId).catch((error: unknown) => {
    if (isInDoubt(error)) doubts.begun(id, unheard)
    else hold.done()
    throw error
  })
  if (begun.outcome !== 'begun') hold.done()
  switch (begun.outcome) {
    case 'begun':
      return { id, token: begun.token, inputs, hold }
    case 'earlier':
      return { id: begun.id }
    case 'mismatch':
      throw mismatch()
    case 'process_not_open':
      if (begun.state === 'dead') deps.onDead()
      throw notOpen(begun.state)
  }
}
