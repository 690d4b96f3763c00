/** The state machine of a job: which transitions are legal, and the record of those that happened. */
import type { RunnerState, Transition } from '../contracts/validation-record.ts'
import { IllegalStateError } from './runner.ts'

const legal: Record<RunnerState, readonly RunnerState[]> = {
  Initial: ['Scheduled', 'End'],
  Scheduled: ['Running', 'Aborted', 'End'],
  Running: ['Aborted', 'End'],
  Aborted: ['End'],
  End: [],
}

export interface StateRecord {
  readonly state: RunnerState
  readonly transitions: readonly Transition[]
  /** Records one step. Staying where one is, is no step. Throws `IllegalStateError` for a step the table lacks. */
  to(next: RunnerState, reason: string): void
}

/** Begins in `from`: Initial for a new job, the last known state for a job taken over from another process. */
export function makeStateRecord(from: RunnerState, now: () => Date = () => new Date()): StateRecord {
  let state = from
  const transitions: Transition[] =
    from === 'Initial' ? [{ to: 'Initial', at: now().toISOString(), reason: 'job spec built' }] : []
  return {
    get state() {
      return state
    },
    transitions,
    to(next, reason) {
      if (next === state) return
      if (!legal[state].includes(next)) {
        throw new IllegalStateError('INTERNAL', `a job cannot go from ${state} to ${next} (${reason})`)
      }
      transitions.push({ from: state, to: next, at: now().toISOString(), reason })
      state = next
    },
  }
}
