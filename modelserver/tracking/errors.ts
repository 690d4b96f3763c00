/** The error stream of a server: one record per failed request (specification 5.2). */

import { hostname } from 'node:os'
import { Pusher, type PushFailure } from './push.ts'
import { snapshot } from './snapshot.ts'
import type { StreamTarget } from './target.ts'

export interface ErrorStreamOptions {
  functionUri?: string
  worker?: number
  host?: string
  onFailure?: PushFailure
}

export class ErrorStream {
  readonly #pusher: Pusher
  readonly #base: { function_uri: string; worker: number; host: string }

  constructor(
    target: StreamTarget,
    { functionUri = '', worker = 0, host = hostname(), onFailure }: ErrorStreamOptions = {},
  ) {
    this.#pusher = new Pusher(target, onFailure)
    this.#base = { function_uri: functionUri, worker, host }
  }

  /** `message` = the error body as protocol `v2` writes it. Copies the body; never throws. */
  push(event: { id: unknown; body: unknown }, message: string): void {
    const { id, body } = event
    this.#pusher.push(snapshot({ ...this.#base, source: '_handler', event: { id, body }, message, args: {} }))
  }

  flush(deadlineMs?: number): Promise<void> {
    return this.#pusher.flush(deadlineMs)
  }
}
