/** What the routes ask of the prediction service. Owns the types; flights.ts, direct.ts and service.ts do the work. */

import type { ModelTarget } from '../platforms/platform.ts'
import type { CancelResult, StoredPrediction, WebhookOrder } from '../records/store.ts'

/** A validated request: the model is known, the inputs are final. */
export interface AcceptedRequest {
  target: ModelTarget
  /** JSON text, numbers digit for digit; without the address for uploads. */
  inputs: string
  /** Where the model uploads files of the prediction with this id; absent = it is not told. */
  uploadAddress?(id: string): string
  /** `traceparent` of the request; absent = it belongs to no trace. */
  trace?: string
  /** Called once it has an id; `workflow`: the flight that carries it. */
  onId?(id: string, workflow?: string): void
  /** Header `UID`, else empty. */
  uid: string
  /** 1 (first) to 5; absent = Temporal's default 3. */
  priority?: number
  /** Header `Idempotency-Key` with the hash of the body. */
  idempotency?: { key: string; fingerprint: string }
  /** The caller waits for the end: a paused queue does not hold it back. */
  sync?: boolean
  /** Whom to tell of its events; flights only. */
  webhook?: WebhookOrder
  /** From its acceptance on; not ended by then, it is canceled. Flights only. */
  cancelAfterMs?: number
  /** The prediction whose input it repeats; flights only. */
  retryOf?: string
  /** This process streams its text; job platforms only. */
  streamed?: boolean
}

export interface Accepted {
  id: string
  /** An earlier request with the same key made it. */
  earlier?: true
}

export interface PredictionService {
  /** Accepts durably and answers; throws `queue_full`, `store_unavailable`, `temporal_unavailable`, `draining`, `idempotency_mismatch`. */
  submit(request: AcceptedRequest): Promise<Accepted>
  /** A sync prediction: called by this process, or a flight and a wait on job platforms. The record is terminal. */
  predict(request: AcceptedRequest): Promise<StoredPrediction>
  /** The record when terminal, or as it is after `waitMs`. */
  waitFor(id: string, waitMs: number): Promise<StoredPrediction | undefined>
  cancel(id: string): Promise<CancelResult>
  /** Sends an event once more, on the same schedule. Throws `temporal_unavailable`. */
  redeliver(deliveryId: string): Promise<void>
  /** Wakes what waits because the queue was paused. Best effort, like the next: the timers of flights make it certain. */
  wakeQueue(): void
  wakeFlights(prefixes: readonly string[]): void
}
