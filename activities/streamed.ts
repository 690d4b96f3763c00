/** A job whose text an API process streams: that process writes the success while it lives, this one only afterwards. */
import { setTimeout as delay } from 'node:timers/promises'
import { codeOf } from '../contracts/errors.ts'
import { mostStoredText, textOf, textOutputs } from '../contracts/streamed-text.ts'
import { type Store, untilStored } from '../records/store.ts'
import type { Outcome } from './outcome.ts'

const lookMs = 500
/** A caller that reads slowly does not keep a place of the worker: what it has not read comes from the record then. */
const patienceMs = 30_000

export interface Streamed {
  store: Pick<Store, 'observeProcess'>
  streamer: string
  /** Of the prediction, on this process's monotonic clock. */
  deadlineMs: number
  /** Fires when the record is terminal. */
  signal: AbortSignal
}

/**
 * What to write for a job that is over. A success waits for the streamer's own: some providers keep no text beside the
 * stream, and the caller is to read in the record what was sent. Throws when `signal` fires.
 */
export async function behindStreamer(outcome: Outcome, streamed: Streamed): Promise<Outcome> {
  const succeeded = outcome.kind === 'succeeded'
  const onlyStreamed = outcome.kind === 'failed' && codeOf(outcome.error) === 'provider_output_missing'
  if (!succeeded && !onlyStreamed) return outcome
  const patientUntilMs = succeeded ? performance.now() + patienceMs : streamed.deadlineMs
  await untilGone({ ...streamed, deadlineMs: Math.min(streamed.deadlineMs, patientUntilMs) })
  return succeeded ? { ...outcome, outputs: textOutputs(textOf(outcome.outputs), mostStoredText) } : outcome
}

/** Until the streamer is dead or the time is over. */
async function untilGone({ store, streamer, deadlineMs, signal }: Streamed): Promise<void> {
  for (;;) {
    const leftMs = deadlineMs - performance.now()
    if (leftMs <= 0) return
    const state = await untilStored(() => store.observeProcess(streamer))
    if (state === 'dead' || state === 'unknown') return
    await delay(Math.min(lookMs, leftMs), undefined, { signal })
  }
}
