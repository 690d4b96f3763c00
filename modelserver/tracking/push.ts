/** Hands records to a stream in order, one push at a time, without ever failing or delaying who records. */

import type { StreamTarget } from './target.ts'

/** A stream's own account of a push that failed in part: how many of the records it did not take. */
export class PushError extends Error {
  override name = 'PushError'
  readonly lost: number
  constructor(lost: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.lost = lost
  }
}

/** Called with the number of records lost and why. */
export type PushFailure = (records: number, error: unknown) => void

/** Records that wait while a slow stream takes the ones before; beyond this new ones are lost and counted. */
const mostWaiting = 10_000

export class Pusher {
  readonly #target: StreamTarget
  readonly #onFailure: PushFailure
  #waiting: unknown[] = []
  #underWay: Promise<void> | undefined

  constructor(target: StreamTarget, onFailure: PushFailure = () => {}) {
    this.#target = target
    this.#onFailure = onFailure
  }

  /** Never throws. An idle stream gets the record before this returns. */
  push(record: unknown): void {
    if (this.#underWay) {
      if (this.#waiting.length < mostWaiting) this.#waiting.push(record)
      else this.#failed(1, new Error(`the stream is too slow: ${mostWaiting} records wait`))
      return
    }
    const pending = this.#send([record])
    if (pending) this.#underWay = this.#sendOn(pending)
  }

  /** Resolves when everything handed over has been taken or lost. What is left after `deadlineMs` is lost and counted. */
  async flush(deadlineMs = 5000): Promise<void> {
    if (!this.#underWay) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), deadlineMs)
    })
    const outcome = await Promise.race([this.#underWay, late])
    clearTimeout(timer)
    if (outcome === 'late' && this.#waiting.length > 0) {
      const lost = this.#waiting.splice(0)
      this.#failed(lost.length, new Error(`the stream did not take them within ${deadlineMs} ms`))
    }
  }

  async #sendOn(first: Promise<void>): Promise<void> {
    await first
    while (this.#waiting.length > 0) await this.#send(this.#waiting.splice(0))
    this.#underWay = undefined
  }

  /** undefined when the stream was done at once. */
  #send(records: unknown[]): Promise<void> | undefined {
    try {
      const outcome = this.#target.push(records)
      if (!isThenable(outcome)) return
      return Promise.resolve(outcome).then(
        () => {},
        (error: unknown) => this.#failed(lostOf(error, records), error),
      )
    } catch (error) {
      this.#failed(lostOf(error, records), error)
      return
    }
  }

  // A counter or logger that throws must not fail the request either.
  #failed(records: number, error: unknown): void {
    try {
      this.#onFailure(records, error)
    } catch {}
  }
}

function lostOf(error: unknown, records: unknown[]): number {
  return error instanceof PushError ? error.lost : records.length
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
