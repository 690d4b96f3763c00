/** One line about a job as its platform sees it. Pure. */
import type { Observation } from '../contracts/validation-record.ts'

/** `exited with code 137 (OOMKilled): message`. */
export function jobWords({ state, exitCode, signal, reason, message }: Observation): string {
  const how =
    exitCode !== undefined
      ? `exited with code ${exitCode}`
      : signal !== undefined
        ? `ended by ${signal}`
        : `is ${state}`
  // Said already.
  const why = reason === undefined || reason === 'exited' ? '' : ` (${reason})`
  return `the job ${how}${why}${message === undefined || message === '' ? '' : `: ${message}`}`
}
