/** What one process holds of the store: its calls, its waiters, its sender, and writes that are repeated until stored. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../contracts/errors.ts'
import type { TerminalStatus } from '../contracts/statuses.ts'

/** Sends what the outbox holds about a prediction, oldest first, one row of each kind at a time. */
export interface OutboxSender {
  /** Every record has rows to be sent, its creation first. */
  readonly mirrors: boolean
  /** Undefined once nothing is left. Never throws; calls for one prediction run one after the other. */
  drain(predictionId: string): Promise<OutboxLeft | undefined>
}

export interface OutboxLeft {
  /** Until it is worth another try. */
  waitMs: number
  /** The external record service does not know the record yet: work must not begin. */
  unknown: boolean
  /** It never will: it refused the creation for good. Nothing of this record is left to be sent there. */
  refused: boolean
}

/**
 * The calls that run in this process: who cancels them, and who may join them. What the process holds in the store without
 * a call here is let go within 5 s.
 */
export interface HeldCalls {
  /**
   * Registers a call, before anything is written that makes this process its holder. `signal` fires soon after the
   * record became terminal by another hand (a cancel).
   */
  hold(id: string): HeldCall
  /** Resolves when the call of this process for that id is done; undefined if there is none. */
  joined(id: string): Promise<void> | undefined
  /** Ids held now. */
  ids(): string[]
  close(): void
}

export interface HeldCall {
  signal: AbortSignal
  /** It has been taken, under this token. If a crash of the database loses that, it is written again. */
  took(token: number): void
  /** The call has ended and its record is written. Must be called exactly once, in a `finally`. */
  done(): void
}

/** Waits for records to become terminal; all waiters of one process share one poll. */
export interface TerminalWaiter {
  /** The terminal status, or undefined once `timeoutMs` have passed or `signal` fired. Never throws. */
  waitFor(id: string, timeoutMs: number, signal?: AbortSignal): Promise<TerminalStatus | undefined>
  close(): void
}

const firstPauseMs = 100
const longestPauseMs = 2_000

/**
 * Repeats a write until the store has taken it: a result in hand is never thrown away because the store is away.
 * Any other error passes.
 */
export async function untilStored<T>(write: () => Promise<T>): Promise<T> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    try {
      return await write()
    } catch (error) {
      if (codeOf(error) !== 'store_unavailable') throw error
    }
    await delay(pauseMs)
  }
}
